//! SmoothL1 with a factor on targets below, or above, a threshold.

use anyhow::Result;
use tch::{Reduction, Tensor};

use crate::config::Parameter;
use crate::target::{LabelForm, Labels, Weights};

use super::sum::VoxelSum;
use super::{Criterion, IgnoreIndex, LossEntry, Totals};

pub(super) static ENTRY: LossEntry = LossEntry {
    name: "WeightedSmoothL1Loss",
    meaning: "SmoothL1Loss, multiplied by a weight where the target is below a threshold",
    parameters: &[
        Parameter::number("threshold", 0.0, "targets below it are weighted").required(),
        Parameter::number("initial_weight", 1.0, "the weight").required(),
        Parameter::flag(
            "apply_below_threshold",
            true,
            "false: targets at or above the threshold are weighted instead",
        ),
    ],
    labels: LabelForm::LikeLogits { float: false },
    uses_weight: false,
    ignore_index: IgnoreIndex::Masked,
    build: |section| {
        Ok(Box::new(WeightedSmoothL1 {
            threshold: section.number("threshold"),
            weight: section.number("initial_weight"),
            below: section.flag("apply_below_threshold"),
        }))
    },
};

struct WeightedSmoothL1 {
    threshold: f64,
    weight: f64,
    below: bool,
}

impl Criterion for WeightedSmoothL1 {
    fn share(
        &self,
        logits: &Tensor,
        labels: &Labels,
        _: Option<&Weights>,
        totals: &mut dyn Totals,
    ) -> Result<Tensor> {
        let kind = logits.f_kind()?;
        let labels = labels.dense(kind)?.f_to_kind(kind)?;
        let weighted = match self.below {
            true => labels.f_lt(self.threshold)?,
            false => labels.f_ge(self.threshold)?,
        };
        let factor =
            weighted.f_to_kind(kind)?.f_mul_scalar(self.weight - 1.0)?.f_add_scalar(1.0)?;
        let error = logits.f_smooth_l1_loss(&labels, Reduction::None, 1.0)?.f_mul(&factor)?;
        VoxelSum { sum: error.f_sum(kind)?, count: error.numel() }.mean(totals)
    }
}
