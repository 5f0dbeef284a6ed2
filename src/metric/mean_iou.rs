//! Intersection over union, mean over classes.

use anyhow::Result;
use tch::Tensor;

use crate::config::{ConfigError, Node};
use crate::target::{LabelForm, Labels, TargetShapes, Weights};

use super::class_overlap::{class_overlap, ratio};
use super::parameters::{IGNORE_INDEX, SKIP_CHANNELS, check_skip};
use super::{MetricEntry, Scorer, mean_of, sums_of};

pub(super) static ENTRY: MetricEntry = MetricEntry {
    name: "MeanIoU",
    meaning: "intersection over union of every class, mean over classes, then over samples",
    parameters: &[SKIP_CHANNELS, IGNORE_INDEX],
    labels: LabelForm::ClassesOrOneHot,
    uses_weight: false,
    build: |section| {
        Ok(Box::new(MeanIoU {
            skip: section.integers(SKIP_CHANNELS.name),
            ignore: section.maybe_integer(IGNORE_INDEX.name),
        }))
    },
};

/// The mean of the intersection over union of all classes but `skip`.
struct MeanIoU {
    skip: Vec<i64>,
    ignore: Option<i64>,
}

impl Scorer for MeanIoU {
    fn sums(
        &self,
        probabilities: &Tensor,
        labels: &Labels,
        _: Option<&Weights>,
    ) -> Result<Vec<f64>> {
        let scores = (0..probabilities.size()[0])
            .map(|n| {
                let sample = probabilities.f_get(n)?;
                let found = class_overlap(&sample, &labels.sample(n)?, None, self.ignore)?;
                let counted = (0..found.union.len()).filter(|&c| !self.skip.contains(&(c as i64)));
                Ok(mean_of(counted.map(|c| Some(ratio(found.intersection[c], found.union[c])))))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(sums_of(scores))
    }

    fn check(&self, node: &Node, shapes: &TargetShapes<'_>) -> Result<(), ConfigError> {
        check_skip(node, &self.skip, shapes)
    }
}
