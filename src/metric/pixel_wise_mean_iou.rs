//! Intersection over union with a weight for every voxel.

use anyhow::{Result, anyhow};
use tch::Tensor;

use crate::config::Parameter;
use crate::loss::{Target, Truth, Weights};

use super::overlap::{overlap, ratio};
use super::parameters::{IGNORE_INDEX, NAME, SKIP_CHANNELS, check_skip};
use super::{Entry, Metric, mean_of};

pub(super) static ENTRY: Entry = Entry {
    name: "PixelWiseMeanIoU",
    meaning: "weighted intersection over union, mean over the classes of the ground truth",
    parameters: &[
        NAME,
        SKIP_CHANNELS,
        IGNORE_INDEX,
        Parameter::flag(
            "weight_equal",
            false,
            "counts every voxel of weight above 0 once, whatever its weight",
        ),
    ],
    uses_weight: true,
    target: Target::ClassesOrOneHot,
    check: check_skip,
    build: |section| {
        Ok(Box::new(PixelWiseMeanIoU {
            skip: section.integers("skip_channels"),
            ignore: section.maybe_integer("ignore_index"),
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

impl Metric for PixelWiseMeanIoU {
    fn score(
        &self,
        probabilities: &Tensor,
        target: &Tensor,
        weight: Option<&Tensor>,
    ) -> Result<Option<f64>> {
        let weight = weight.map(|weight| Weights::Dense(weight.shallow_clone()));
        let truth = Truth::Dense(target.shallow_clone());
        self.score_compact(probabilities, &truth, weight.as_ref())
    }

    fn score_compact(
        &self,
        probabilities: &Tensor,
        truth: &Truth,
        weights: Option<&Weights>,
    ) -> Result<Option<f64>> {
        let weights =
            weights.ok_or_else(|| anyhow!("PixelWiseMeanIoU was called without a weight map"))?;
        let scores = (0..probabilities.size()[0])
            .map(|n| {
                let mut weights = weights.sample(n)?;
                if self.equal {
                    weights = weights.above_zero()?;
                }
                let sample = probabilities.f_get(n)?;
                let found = overlap(&sample, &truth.sample(n)?, Some(&weights), self.ignore)?;
                let counted = (0..found.union.len())
                    .filter(|&c| !self.skip.contains(&(c as i64)) && found.truth[c] != 0.0);
                Ok(mean_of(counted.map(|c| Some(ratio(found.intersection[c], found.union[c])))))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(mean_of(scores))
    }
}
