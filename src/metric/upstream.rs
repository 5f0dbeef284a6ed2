//! Metrics as `wolny/pytorch-3dunet` has them, where they differ from the fork's.

use anyhow::Result;
use tch::{Kind, Tensor};

use crate::config::{Parameter, Section};
use crate::target::{LabelForm, Labels, Weights};

use super::adapted_rand::{AdaptedRand, INPUT_CHANNELS, THRESHOLDS, use_last_target};
use super::{MetricEntry, Scorer, mean_of, sums_of};

pub(super) static MEAN_IOU: MetricEntry = MetricEntry {
    name: "MeanIoU",
    meaning: "intersection over union of every class, mean over classes, then over samples: of the \
              likeliest class for labels (D, H, W), of each channel above 0.5 for labels with \
              channels",
    parameters: &[Parameter::flag(
        "skip_background",
        true,
        "leaves class 0 out for labels (D, H, W)",
    )],
    labels: LabelForm::ClassesOrOneHot,
    uses_weight: false,
    build: |section| Ok(Box::new(MeanIoU { skip_background: section.flag("skip_background") })),
};

pub(super) static PLAIN_RAND: MetricEntry = MetricEntry {
    name: "AdaptedRandError",
    meaning: "adapted Rand error of a segmentation that the network gives out itself",
    parameters: &[use_last_target(false), IGNORE_INDEX],
    labels: LabelForm::AnyInstances,
    uses_weight: false,
    build: |section| Ok(Box::new(upstream(section, AdaptedRand::plain(section, Vec::new())))),
};

pub(super) static BOUNDARY_RAND: MetricEntry = MetricEntry {
    name: "BoundaryAdaptedRandError",
    meaning: "least adapted Rand error of the components between boundaries, over thresholds and \
              channels",
    parameters: &[
        THRESHOLDS,
        use_last_target(true),
        IGNORE_INDEX,
        Parameter::integer("input_channel", 0, "only this output channel is cut")
            .at_least(0.0)
            .optional(),
        Parameter::flag("invert_pmaps", true, "components are where the map is below the level"),
    ],
    labels: LabelForm::AnyInstances,
    uses_weight: false,
    build: |section| {
        let only = section.maybe_integer("input_channel");
        Ok(Box::new(upstream(section, AdaptedRand::between_boundaries(section, only)?)))
    },
};

pub(super) static GENERIC_RAND: MetricEntry = MetricEntry {
    name: "GenericAdaptedRandError",
    meaning: "least adapted Rand error of the components above thresholds of chosen channels",
    parameters: &[
        Parameter::integers(INPUT_CHANNELS, &[], "output channels to cut").at_least(0.0).required(),
        Parameter::integers("invert_channels", &[], "channels to take 1 - p of").at_least(0.0),
        THRESHOLDS,
        use_last_target(true),
        IGNORE_INDEX,
    ],
    labels: LabelForm::AnyInstances,
    uses_weight: false,
    build: |section| Ok(Box::new(upstream(section, AdaptedRand::of_channels(section)?))),
};

const IGNORE_INDEX: Parameter =
    Parameter::integer("ignore_index", 0, "label that counts as background").optional();

/// Scores segmentations of one label too, and leaves `ignore_index` out of the truth.
fn upstream(section: &Section<'_>, rand: AdaptedRand) -> AdaptedRand {
    let ignored = section.maybe_integer(IGNORE_INDEX.name);
    rand.scoring_all(ignored)
}

/// Added to intersection and union: a class that is nowhere scores 1.
const EPSILON: f64 = 1e-8;

/// The mean of (I + ε) / (U + ε) over classes.
struct MeanIoU {
    skip_background: bool,
}

impl Scorer for MeanIoU {
    fn sums(
        &self,
        probabilities: &Tensor,
        labels: &Labels,
        _: Option<&Weights>,
    ) -> Result<Vec<f64>> {
        let scores = (0..probabilities.size()[0])
            .map(|n| self.score_sample(&probabilities.f_get(n)?, &labels.sample(n)?))
            .collect::<Result<Vec<_>>>()?;
        Ok(sums_of(scores))
    }
}

impl MeanIoU {
    /// Of probabilities (C, D, H, W) and labels (D, H, W) or (C, D, H, W).
    fn score_sample(&self, probabilities: &Tensor, labels: &Labels) -> Result<Option<f64>> {
        let truth = labels.dense(Kind::Uint8)?;
        let classes = probabilities.size()[0];
        let ratio = |found: &Tensor, truth: &Tensor| -> Result<Option<f64>> {
            let count = |mask: Tensor| -> Result<f64> {
                Ok(mask.f_sum(Kind::Int64)?.f_int64_value(&[])? as f64)
            };
            let both = count(found.f_logical_and(truth)?)?;
            let either = count(found.f_logical_or(truth)?)?;
            Ok(Some((both + EPSILON) / (either + EPSILON)))
        };
        let scores = if truth.dim() == 3 {
            let found = probabilities.f_argmax(0, false)?;
            let first = i64::from(self.skip_background);
            (first..classes)
                .map(|class| ratio(&found.f_eq(class)?, &truth.f_eq(class)?))
                .collect::<Result<Vec<_>>>()?
        } else {
            // As bytes: fractions are cut off.
            let truth = truth.f_to_kind(Kind::Uint8)?;
            (0..classes)
                .map(|class| ratio(&probabilities.f_get(class)?.f_gt(0.5)?, &truth.f_get(class)?))
                .collect::<Result<Vec<_>>>()?
        };
        Ok(mean_of(scores))
    }
}
