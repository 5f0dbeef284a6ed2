//! Intersection over union with a weight for every voxel.

use anyhow::{Context, Result};
use tch::Tensor;

use crate::config::{ConfigError, Node, Parameter};
use crate::target::{LabelForm, Labels, TargetShapes, Weights};

use super::class_overlap::{class_overlap, ratio};
use super::parameters::{IGNORE_INDEX, SKIP_CHANNELS, check_skip};
use super::{MetricEntry, Scorer, mean_of, sums_of};

pub(super) static ENTRY: MetricEntry = MetricEntry {
    name: "PixelWiseMeanIoU",
    meaning: "weighted intersection over union, mean over the classes of the ground truth",
    parameters: &[
        SKIP_CHANNELS,
        IGNORE_INDEX,
        Parameter::flag(
            "weight_equal",
            false,
            "counts every voxel of weight above 0 once, whatever its weight",
        ),
    ],
    labels: LabelForm::ClassesOrOneHot,
    uses_weight: true,
    build: |section| {
        Ok(Box::new(PixelWiseMeanIoU {
            skip: section.integers(SKIP_CHANNELS.name),
            ignore: section.maybe_integer(IGNORE_INDEX.name),
            equal: section.flag("weight_equal"),
        }))
    },
};

/// Classes without ground truth are left out of a sample's mean, a sample
/// without any class out of the batch's.
struct PixelWiseMeanIoU {
    skip: Vec<i64>,
    ignore: Option<i64>,
    equal: bool,
}

impl Scorer for PixelWiseMeanIoU {
    fn sums(
        &self,
        probabilities: &Tensor,
        labels: &Labels,
        weights: Option<&Weights>,
    ) -> Result<Vec<f64>> {
        let weights = weights.context("PixelWiseMeanIoU was called without weights")?;
        let scores = (0..probabilities.size()[0])
            .map(|n| {
                let mut weights = weights.sample(n)?;
                if self.equal {
                    weights = weights.above_zero()?;
                }
                let sample = probabilities.f_get(n)?;
                let labels = labels.sample(n)?;
                let found = class_overlap(&sample, &labels, Some(&weights), self.ignore)?;
                let counted = (0..found.union.len())
                    .filter(|&c| !self.skip.contains(&(c as i64)) && found.truth[c] != 0.0);
                Ok(mean_of(counted.map(|c| Some(ratio(found.intersection[c], found.union[c])))))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(sums_of(scores))
    }

    fn check(&self, node: &Node, shapes: &TargetShapes<'_>) -> Result<(), ConfigError> {
        check_skip(node, &self.skip, shapes)
    }
}
