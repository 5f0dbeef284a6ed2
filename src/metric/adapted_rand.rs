//! Metrics that compare instances by the adapted Rand error.

use anyhow::{Result, anyhow};
use tch::Tensor;

use crate::config::{ConfigError, Node, Parameter};
use crate::regions::LabelImage;
use crate::target::{LabelForm, Labels, TargetShapes, Weights};

use super::label_images::{component_labels, instance_channel, whole_labels};
use super::parameters::{check_channels, thresholds};
use super::rand_error::adapted_rand_error;
use super::{MetricEntry, Scorer, mean_of};

const INPUT_CHANNELS: &str = "input_channels";
const THRESHOLDS: Parameter =
    Parameter::numbers("thresholds", &[0.3, 0.4, 0.5, 0.6], "levels to cut the maps at");

const fn use_last_target(default: bool) -> Parameter {
    Parameter::flag(
        "use_last_target",
        default,
        "instances are the last label channel, not the first",
    )
}

pub(super) static PLAIN: MetricEntry = MetricEntry {
    name: "AdaptedRandError",
    meaning: "adapted Rand error of a segmentation that the network gives out itself",
    parameters: &[use_last_target(false)],
    labels: LabelForm::AnyInstances,
    uses_weight: false,
    build: |section| {
        Ok(Box::new(AdaptedRand {
            last_target: section.flag("use_last_target"),
            channels: Vec::new(),
            segments: Box::new(channels_as_labels),
        }))
    },
};

pub(super) static BOUNDARY: MetricEntry = MetricEntry {
    name: "BoundaryAdaptedRandError",
    meaning: "least adapted Rand error of the components between boundaries, over thresholds and \
              channels",
    parameters: &[
        THRESHOLDS,
        use_last_target(true),
        Parameter::flag("use_first_input", false, "only the first output channel is cut"),
        Parameter::flag("invert_pmaps", true, "components are where the map is below the level"),
    ],
    labels: LabelForm::AnyInstances,
    uses_weight: false,
    build: |section| {
        let thresholds = thresholds(section)?;
        let first = section.flag("use_first_input");
        let invert = section.flag("invert_pmaps");
        Ok(Box::new(AdaptedRand {
            last_target: section.flag("use_last_target"),
            channels: Vec::new(),
            segments: Box::new(move |sample, each| {
                let count = if first { 1 } else { sample.size()[0] };
                for channel in 0..count {
                    let map = sample.f_get(channel)?;
                    for &threshold in &thresholds {
                        let above = map.f_gt(threshold)?;
                        let mask = if invert { above.f_logical_not()? } else { above };
                        each(component_labels(&mask)?);
                    }
                }
                Ok(())
            }),
        }))
    },
};

pub(super) static GENERIC: MetricEntry = MetricEntry {
    name: "GenericAdaptedRandError",
    meaning: "least adapted Rand error of the components above thresholds of chosen channels",
    parameters: &[
        Parameter::integers(INPUT_CHANNELS, &[], "output channels to cut").at_least(0.0).required(),
        Parameter::integers("invert_channels", &[], "channels to take 1 - p of").at_least(0.0),
        THRESHOLDS,
        use_last_target(true),
    ],
    labels: LabelForm::AnyInstances,
    uses_weight: false,
    build: |section| {
        let thresholds = thresholds(section)?;
        let channels = section.integers(INPUT_CHANNELS);
        let inverted = section.integers("invert_channels");
        if channels.is_empty() {
            return Err(section.error(INPUT_CHANNELS, "name at least one output channel"));
        }
        Ok(Box::new(AdaptedRand {
            last_target: section.flag("use_last_target"),
            channels: channels.clone(),
            segments: Box::new(move |sample, each| {
                for &channel in &channels {
                    let mut map = sample.f_get(channel)?;
                    if inverted.contains(&channel) {
                        map = map.f_rsub_scalar(1.0)?;
                    }
                    for &threshold in &thresholds {
                        each(component_labels(&map.f_gt(threshold)?)?);
                    }
                }
                Ok(())
            }),
        }))
    },
};

fn channels_as_labels(sample: &Tensor, each: &mut dyn FnMut(LabelImage)) -> Result<()> {
    for channel in 0..sample.size()[0] {
        each(whole_labels(&sample.f_get(channel)?)?);
    }
    Ok(())
}

/// Hands every segmentation of a sample's output (C, D, H, W) to a function.
type Segments = dyn Fn(&Tensor, &mut dyn FnMut(LabelImage)) -> Result<()> + Send;

/// The least adapted Rand error of a sample's segmentations, mean over samples.
struct AdaptedRand {
    last_target: bool,
    /// Output channels that the section names under [`INPUT_CHANNELS`].
    channels: Vec<i64>,
    segments: Box<Segments>,
}

impl Scorer for AdaptedRand {
    fn score(
        &self,
        probabilities: &Tensor,
        labels: &Labels,
        _: Option<&Weights>,
    ) -> Result<Option<f64>> {
        let errors = (0..probabilities.size()[0])
            .map(|n| {
                let truth = whole_labels(&instance_channel(labels, n, self.last_target)?)?;
                if truth.values.len() == 1 {
                    return Ok(Some(0.0));
                }
                let mut least: Option<f64> = None;
                (self.segments)(&probabilities.f_get(n)?, &mut |found| {
                    let error = adapted_rand_error(&truth, &found);
                    least = Some(least.map_or(error, |least| least.min(error)));
                })?;
                Ok(Some(least.ok_or_else(|| anyhow!("there was no segmentation to score"))?))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(mean_of(errors))
    }

    fn check(&self, node: &Node, shapes: &TargetShapes<'_>) -> Result<(), ConfigError> {
        check_channels(node, INPUT_CHANNELS, &self.channels, shapes)
    }
}
