//! Metrics that match instances by their overlap.

use anyhow::Result;
use tch::Tensor;

use crate::config::{ConfigError, Parameter, Section};
use crate::loss::{Shapes, Target};

use super::contingency::{Contingency, Labels};
use super::instances::{component_labels, distinct_labels, instance_channel};
use super::parameters::{NAME, thresholds};
use super::{Entry, Metric, mean_of};

const MIN_SIZE: Parameter =
    Parameter::integer("min_instance_size", 0, "instances of fewer voxels become background")
        .at_least(0.0)
        .optional();
const METRIC: Parameter = Parameter::choice(
    "metric",
    "ap",
    &["ap", "acc"],
    "`ap`: mean over IoU 0.50, 0.55, ... 0.95; `acc`: at IoU 0.5",
);
const INPUT_CHANNEL: Parameter =
    Parameter::integer("input_channel", 0, "output channel to cut").at_least(0.0);
const LEVELS: &str = "levels to cut the map at";

pub(super) static BOUNDARY: Entry = Entry {
    name: "BoundaryAveragePrecision",
    meaning: "best average precision of the components below thresholds of a boundary map, against \
              the first label channel",
    parameters: &[
        NAME,
        Parameter::numbers("thresholds", &[0.3, 0.4, 0.5, 0.6], LEVELS),
        INPUT_CHANNEL,
        MIN_SIZE,
    ],
    uses_weight: false,
    target: Target::AnyInstances,
    check: check_channel,
    build: |section| {
        let channel = section.integer("input_channel");
        build(section, Matching::AveragePrecision, false, move |sample, threshold| {
            Ok(sample.f_get(channel)?.f_gt(threshold)?.f_logical_not()?)
        })
    },
};

pub(super) static BLOBS: Entry = Entry {
    name: "BlobsAveragePrecision",
    meaning: "best average precision of the components above thresholds of a foreground map, \
              against the last label channel",
    parameters: &[
        NAME,
        Parameter::numbers("thresholds", &[0.4, 0.5, 0.6, 0.7, 0.8], LEVELS),
        METRIC,
        INPUT_CHANNEL,
        MIN_SIZE,
    ],
    uses_weight: false,
    target: Target::AnyInstances,
    check: check_channel,
    build: |section| {
        let channel = section.integer("input_channel");
        build(section, Matching::read(section), true, move |sample, threshold| {
            Ok(sample.f_get(channel)?.f_gt(threshold)?)
        })
    },
};

pub(super) static BLOBS_BOUNDARY: Entry = Entry {
    name: "BlobsBoundaryAveragePrecision",
    meaning: "as BlobsAveragePrecision, on the first output channel less the second",
    parameters: &[
        NAME,
        Parameter::numbers("thresholds", &[0.3, 0.4, 0.5, 0.6, 0.7], LEVELS),
        METRIC,
        MIN_SIZE,
    ],
    uses_weight: false,
    target: Target::AnyInstances,
    check: |section, shapes| {
        if shapes.out_channels < 2 {
            return Err(section.error(
                "name",
                "BlobsBoundaryAveragePrecision takes a foreground and a boundary map: set \
                 `model.out_channels` to 2",
            ));
        }
        Ok(())
    },
    build: |section| {
        build(section, Matching::read(section), true, |sample, threshold| {
            Ok(sample.f_get(0)?.f_sub(&sample.f_get(1)?)?.f_gt(threshold)?)
        })
    },
};

fn check_channel(section: &Section<'_>, shapes: &Shapes<'_>) -> Result<(), ConfigError> {
    let (channel, count) = (section.integer("input_channel"), shapes.out_channels as i64);
    if channel >= count {
        return Err(section.error(
            "input_channel",
            format!(
                "there is no output channel {channel}: channels are 0 to {} for \
                 `model.out_channels: {count}`",
                count - 1
            ),
        ));
    }
    Ok(())
}

fn build(
    section: &Section<'_>,
    matching: Matching,
    last_target: bool,
    mask: impl Fn(&Tensor, f64) -> Result<Tensor> + Send + 'static,
) -> Result<Box<dyn Metric>, ConfigError> {
    Ok(Box::new(BestPrecision {
        thresholds: thresholds(section)?,
        least: section.maybe_size("min_instance_size").unwrap_or(0) as u64,
        matching,
        last_target,
        mask: Box::new(mask),
    }))
}

/// Which overlaps count as a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    /// The mean of [`precision`] over the IoU 0.50, 0.55, … 0.95.
    AveragePrecision,
    /// [`precision`] at IoU 0.5.
    Accuracy,
}

impl Matching {
    fn read(section: &Section<'_>) -> Self {
        if section.text("metric") == "acc" { Self::Accuracy } else { Self::AveragePrecision }
    }

    /// The score of a segmentation.
    pub fn score(self, truth: &Labels, found: &Labels) -> f64 {
        let overlaps = overlaps(truth, found);
        let (truth, found) = (truth.values.len(), found.values.len());
        match self {
            Self::Accuracy => precision(&overlaps, truth, found, 0.5),
            Self::AveragePrecision => {
                // As numpy's linspace spaces them.
                let step = (0.95 - 0.50) / 9.0;
                let levels = (0..10).map(|i| if i == 9 { 0.95 } else { i as f64 * step + 0.50 });
                levels.map(|iou| precision(&overlaps, truth, found, iou)).sum::<f64>() / 10.0
            }
        }
    }
}

/// Intersection over union of every pair of instances that touch. The smallest
/// label of an image is its background and no instance.
fn overlaps(truth: &Labels, found: &Labels) -> Vec<(u32, u32, f64)> {
    Contingency::new(truth, found)
        .pairs
        .into_iter()
        .filter(|&(a, b, _)| a > 0 && b > 0)
        .map(|(a, b, both)| {
            let union = truth.sizes[a as usize] + found.sizes[b as usize] - both;
            (a, b, both as f64 / union as f64)
        })
        .collect()
}

/// TP / (TP + FP + FN) when a match is an overlap above `iou`; 0 without any.
fn precision(overlaps: &[(u32, u32, f64)], truth: usize, found: usize, iou: f64) -> f64 {
    let mut matched = vec![false; truth];
    let mut used = vec![false; found];
    for &(a, b, overlap) in overlaps {
        if overlap > iou {
            matched[a as usize] = true;
            used[b as usize] = true;
        }
    }
    let hits = matched.iter().filter(|&&hit| hit).count();
    if hits == 0 {
        return 0.0;
    }
    // Every instance of the truth is a hit or missed; what was found and matches
    // nothing is false. One background on either side is no instance.
    let false_found = found - 1 - used.iter().filter(|&&hit| hit).count();
    hits as f64 / (truth - 1 + false_found) as f64
}

/// The mask whose components are the instances, from (C, D, H, W) and a level.
type Mask = dyn Fn(&Tensor, f64) -> Result<Tensor> + Send;

/// The best score over all thresholds, mean over samples.
struct BestPrecision {
    thresholds: Vec<f64>,
    least: u64,
    matching: Matching,
    last_target: bool,
    mask: Box<Mask>,
}

impl Metric for BestPrecision {
    fn score(
        &self,
        probabilities: &Tensor,
        target: &Tensor,
        _: Option<&Tensor>,
    ) -> Result<Option<f64>> {
        let scores = (0..probabilities.size()[0])
            .map(|n| {
                let sample = probabilities.f_get(n)?;
                let truth = distinct_labels(&instance_channel(target, n, self.last_target)?)?
                    .without_small(self.least);
                let mut best = 0.0f64;
                for &threshold in &self.thresholds {
                    let found = component_labels(&(self.mask)(&sample, threshold)?)?
                        .without_small(self.least);
                    best = best.max(self.matching.score(&truth, &found));
                }
                Ok(Some(best))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(mean_of(scores))
    }
}
