//! Intersection over union, mean over classes.

use anyhow::Result;
use tch::Tensor;

use crate::loss::{Target, Truth, Weights};

use super::overlap::{overlap, ratio};
use super::parameters::{IGNORE_INDEX, NAME, SKIP_CHANNELS, check_skip};
use super::{Entry, Metric, mean_of};

pub(super) static ENTRY: Entry = Entry {
    name: "MeanIoU",
    meaning: "intersection over union of every class, mean over classes, then over samples",
    parameters: &[NAME, SKIP_CHANNELS, IGNORE_INDEX],
    uses_weight: false,
    target: Target::ClassesOrOneHot,
    check: check_skip,
    build: |section| {
        Ok(Box::new(MeanIoU {
            skip: section.integers("skip_channels"),
            ignore: section.maybe_integer("ignore_index"),
        }))
    },
};

struct MeanIoU {
    skip: Vec<i64>,
    ignore: Option<i64>,
}

impl Metric for MeanIoU {
    fn score(
        &self,
        probabilities: &Tensor,
        target: &Tensor,
        _: Option<&Tensor>,
    ) -> Result<Option<f64>> {
        self.score_compact(probabilities, &Truth::Dense(target.shallow_clone()), None)
    }

    fn score_compact(
        &self,
        probabilities: &Tensor,
        truth: &Truth,
        _: Option<&Weights>,
    ) -> Result<Option<f64>> {
        let scores = (0..probabilities.size()[0])
            .map(|n| {
                let sample = probabilities.f_get(n)?;
                let found = overlap(&sample, &truth.sample(n)?, None, self.ignore)?;
                let counted = (0..found.union.len()).filter(|&c| !self.skip.contains(&(c as i64)));
                Ok(mean_of(counted.map(|c| Some(ratio(found.intersection[c], found.union[c])))))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(mean_of(scores))
    }
}
