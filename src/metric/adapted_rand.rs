//! Metrics that compare instances by the adapted Rand error.

use anyhow::{Result, anyhow};
use tch::Tensor;

use crate::config::{ConfigError, Node, Parameter, Section};
use crate::regions::LabelImage;
use crate::target::{LabelForm, Labels, TargetShapes, Weights};

use super::label_images::{component_labels, instance_channel, whole_labels};
use super::parameters::{check_channels, thresholds};
use super::rand_error::{adapted_rand_error, rand_error};
use super::{MetricEntry, Scorer, sums_of};

pub(super) const INPUT_CHANNELS: &str = "input_channels";
pub(super) const THRESHOLDS: Parameter =
    Parameter::numbers("thresholds", &[0.3, 0.4, 0.5, 0.6], "levels to cut the maps at");

pub(super) const fn use_last_target(default: bool) -> Parameter {
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
            segments: Box::new(channels_as_labels),
            ..AdaptedRand::plain(section, Vec::new())
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
        let only = section.flag("use_first_input").then_some(0);
        Ok(Box::new(AdaptedRand::between_boundaries(section, only)?))
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
    build: |section| Ok(Box::new(AdaptedRand::of_channels(section)?)),
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
pub(super) struct AdaptedRand {
    last_target: bool,
    /// Key that names output channels, and the channels.
    channels: (&'static str, Vec<i64>),
    segments: Box<Segments>,
    /// Label of the truth that counts as background.
    ignored: Option<i64>,
    /// Whether a segmentation of one label is scored, rather than 0.
    scores_one_label: bool,
}

impl AdaptedRand {
    /// Scores segmentations of one label too; `ignored` counts as background of the truth.
    pub(super) fn scoring_all(self, ignored: Option<i64>) -> Self {
        AdaptedRand { ignored, scores_one_label: true, ..self }
    }

    /// Of channels that hold labels, as the fork scores them.
    pub(super) fn plain(section: &Section<'_>, channels: Vec<i64>) -> Self {
        AdaptedRand {
            last_target: section.flag("use_last_target"),
            channels: (INPUT_CHANNELS, channels),
            segments: Box::new(channels_as_labels),
            ignored: None,
            scores_one_label: false,
        }
    }

    /// Of the components between the boundaries of all channels, or of one.
    pub(super) fn between_boundaries(
        section: &Section<'_>,
        only: Option<i64>,
    ) -> Result<Self, ConfigError> {
        let thresholds = thresholds(section)?;
        let invert = section.flag("invert_pmaps");
        Ok(AdaptedRand {
            channels: ("input_channel", only.into_iter().collect()),
            segments: Box::new(move |sample, each| {
                let channels = match only {
                    Some(channel) => channel..channel + 1,
                    None => 0..sample.size()[0],
                };
                for channel in channels {
                    let map = sample.f_get(channel)?;
                    for &threshold in &thresholds {
                        let above = map.f_gt(threshold)?;
                        let mask = if invert { above.f_logical_not()? } else { above };
                        each(component_labels(&mask)?);
                    }
                }
                Ok(())
            }),
            ..AdaptedRand::plain(section, Vec::new())
        })
    }

    /// Of the components of chosen channels.
    pub(super) fn of_channels(section: &Section<'_>) -> Result<Self, ConfigError> {
        let thresholds = thresholds(section)?;
        let channels = section.integers(INPUT_CHANNELS);
        let inverted = section.integers("invert_channels");
        if channels.is_empty() {
            return Err(section.error(INPUT_CHANNELS, "name at least one output channel"));
        }
        Ok(AdaptedRand {
            channels: (INPUT_CHANNELS, channels.clone()),
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
            ..AdaptedRand::plain(section, Vec::new())
        })
    }
}

impl Scorer for AdaptedRand {
    fn sums(
        &self,
        probabilities: &Tensor,
        labels: &Labels,
        _: Option<&Weights>,
    ) -> Result<Vec<f64>> {
        let errors = (0..probabilities.size()[0])
            .map(|n| {
                let mut truth = instance_channel(labels, n, self.last_target)?;
                if let Some(ignored) = self.ignored {
                    truth = truth.f_masked_fill(&truth.f_eq(ignored)?, 0)?;
                }
                let truth = whole_labels(&truth)?;
                if truth.values.len() == 1 {
                    return Ok(Some(0.0));
                }
                let mut least: Option<f64> = None;
                (self.segments)(&probabilities.f_get(n)?, &mut |found| {
                    let error = match self.scores_one_label {
                        true => rand_error(&truth, &found),
                        false => adapted_rand_error(&truth, &found),
                    };
                    least = Some(least.map_or(error, |least| least.min(error)));
                })?;
                Ok(Some(least.ok_or_else(|| anyhow!("there was no segmentation to score"))?))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(sums_of(errors))
    }

    fn check(&self, node: &Node, shapes: &TargetShapes<'_>) -> Result<(), ConfigError> {
        let (key, channels) = &self.channels;
        check_channels(node, key, channels, shapes)
    }
}
