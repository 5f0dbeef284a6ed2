//! Metrics that match instances by their overlap.

use anyhow::Result;
use tch::Tensor;

use crate::config::{ConfigError, Node, Parameter, Section};
use crate::regions::{Contingency, LabelImage, Overlap};
use crate::target::{LabelForm, Labels, TargetShapes, Weights};

use super::label_images::{component_labels, distinct_labels, instance_channel};
use super::parameters::{check_channels, thresholds};
use super::{MetricEntry, Scorer, sums_of};

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

pub(super) static BOUNDARY: MetricEntry = MetricEntry {
    name: "BoundaryAveragePrecision",
    meaning: "best average precision of the components below thresholds of a boundary map, against \
              the first label channel",
    parameters: &[
        Parameter::numbers("thresholds", &[0.3, 0.4, 0.5, 0.6], LEVELS),
        INPUT_CHANNEL,
        MIN_SIZE,
    ],
    labels: LabelForm::AnyInstances,
    uses_weight: false,
    build: |section| Ok(Box::new(BestPrecision::between_boundaries(section, false)?)),
};

pub(super) static UPSTREAM_BOUNDARY: MetricEntry = MetricEntry {
    meaning: "best average precision of the components below thresholds of a boundary map, against \
              the last label channel",
    build: |section| Ok(Box::new(BestPrecision::between_boundaries(section, true)?)),
    ..BOUNDARY
};

pub(super) static BLOBS: MetricEntry = MetricEntry {
    name: "BlobsAveragePrecision",
    meaning: "best average precision of the components above thresholds of a foreground map, \
              against the last label channel",
    parameters: &[
        Parameter::numbers("thresholds", &[0.4, 0.5, 0.6, 0.7, 0.8], LEVELS),
        METRIC,
        INPUT_CHANNEL,
        MIN_SIZE,
    ],
    labels: LabelForm::AnyInstances,
    uses_weight: false,
    build: |section| {
        let channel = section.integer(INPUT_CHANNEL.name);
        Ok(Box::new(BestPrecision {
            matching: Matching::read(section),
            ..BestPrecision::read(section, &[channel], move |sample, threshold| {
                Ok(sample.f_get(channel)?.f_gt(threshold)?)
            })?
        }))
    },
};

pub(super) static BLOBS_BOUNDARY: MetricEntry = MetricEntry {
    name: "BlobsBoundaryAveragePrecision",
    meaning: "as BlobsAveragePrecision, on the first output channel less the second",
    parameters: &[
        Parameter::numbers("thresholds", &[0.3, 0.4, 0.5, 0.6, 0.7], LEVELS),
        METRIC,
        MIN_SIZE,
    ],
    labels: LabelForm::AnyInstances,
    uses_weight: false,
    build: |section| {
        Ok(Box::new(BestPrecision {
            matching: Matching::read(section),
            ..BestPrecision::read(section, &[0, 1], |sample, threshold| {
                Ok(sample.f_get(0)?.f_sub(&sample.f_get(1)?)?.f_gt(threshold)?)
            })?
        }))
    },
};

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
    pub fn score(self, truth: &LabelImage, found: &LabelImage) -> f64 {
        let overlaps = Contingency::new(truth, found).overlaps(truth, found);
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

/// TP / (TP + FP + FN) when a match is an overlap above `iou`; 0 without any.
fn precision(overlaps: &[Overlap], truth: usize, found: usize, iou: f64) -> f64 {
    let mut matched = vec![false; truth];
    let mut used = vec![false; found];
    for overlap in overlaps.iter().filter(|overlap| overlap.iou > iou) {
        matched[overlap.truth as usize] = true;
        used[overlap.found as usize] = true;
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
    /// Instances of fewer voxels become background.
    min_size: u64,
    matching: Matching,
    /// Instances are the last label channel, not the first.
    last_target: bool,
    /// Output channels that the mask is made of.
    channels: Vec<i64>,
    mask: Box<Mask>,
}

impl BestPrecision {
    /// The average precision of the components below thresholds of a boundary map.
    fn between_boundaries(section: &Section<'_>, last_target: bool) -> Result<Self, ConfigError> {
        let channel = section.integer(INPUT_CHANNEL.name);
        Ok(BestPrecision {
            matching: Matching::AveragePrecision,
            last_target,
            ..BestPrecision::read(section, &[channel], move |sample, threshold| {
                Ok(sample.f_get(channel)?.f_gt(threshold)?.f_logical_not()?)
            })?
        })
    }

    /// The average precision of masks made of the output channels `channels`, against
    /// the last label channel.
    fn read(
        section: &Section<'_>,
        channels: &[i64],
        mask: impl Fn(&Tensor, f64) -> Result<Tensor> + Send + 'static,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            thresholds: thresholds(section)?,
            min_size: section.maybe_size(MIN_SIZE.name).unwrap_or(0) as u64,
            matching: Matching::AveragePrecision,
            last_target: true,
            channels: channels.to_vec(),
            mask: Box::new(mask),
        })
    }
}

impl Scorer for BestPrecision {
    fn sums(
        &self,
        probabilities: &Tensor,
        labels: &Labels,
        _: Option<&Weights>,
    ) -> Result<Vec<f64>> {
        let scores = (0..probabilities.size()[0])
            .map(|n| {
                let sample = probabilities.f_get(n)?;
                let truth = distinct_labels(&instance_channel(labels, n, self.last_target)?)?
                    .without_small(self.min_size);
                let mut best = 0.0f64;
                for &threshold in &self.thresholds {
                    let found = component_labels(&(self.mask)(&sample, threshold)?)?
                        .without_small(self.min_size);
                    best = best.max(self.matching.score(&truth, &found));
                }
                Ok(Some(best))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(sums_of(scores))
    }

    fn check(&self, node: &Node, shapes: &TargetShapes<'_>) -> Result<(), ConfigError> {
        if self.channels.len() > shapes.out_channels {
            return Err(node.error_at(
                "name",
                "BlobsBoundaryAveragePrecision takes a foreground and a boundary map: set \
                 `model.out_channels` to 2",
            ));
        }
        check_channels(node, INPUT_CHANNEL.name, &self.channels, shapes)
    }
}
