//! Means over voxels and channels of an error of each: squared, absolute, or
//! between the two.

use anyhow::Result;
use tch::{Reduction, TchError, Tensor};

use crate::config::{ConfigError, Section};
use crate::target::{LabelForm, Labels, Weights};

use super::sum::VoxelSum;
use super::{Criterion, IgnoreIndex, LossEntry, Totals};

pub(super) static MSE: LossEntry =
    entry("MSELoss", "mean over voxels and channels of (x - t)^2", true, |_| {
        Ok(Box::new(MeanError(|x, t| x.f_mse_loss(t, Reduction::Sum))))
    });

pub(super) static L1: LossEntry =
    entry("L1Loss", "mean over voxels and channels of |x - t|", false, |_| {
        Ok(Box::new(MeanError(|x, t| x.f_l1_loss(t, Reduction::Sum))))
    });

pub(super) static SMOOTH_L1: LossEntry = entry(
    "SmoothL1Loss",
    "mean of (x - t)^2 / 2 where |x - t| < 1, else |x - t| - 1/2",
    false,
    |_| Ok(Box::new(MeanError(|x, t| x.f_smooth_l1_loss(t, Reduction::Sum, 1.0)))),
);

/// A loss without keys of its own; `float` says whether labels have to be floats.
const fn entry(
    name: &'static str,
    meaning: &'static str,
    float: bool,
    build: fn(&Section<'_>) -> Result<Box<dyn Criterion>, ConfigError>,
) -> LossEntry {
    LossEntry {
        name,
        meaning,
        parameters: &[],
        labels: LabelForm::LikeLogits { float },
        uses_weight: false,
        ignore_index: IgnoreIndex::Masked,
        build,
    }
}

/// The mean of the error whose sum over logits and labels, both (N, C, D, H, W), the
/// function gives.
struct MeanError(fn(&Tensor, &Tensor) -> Result<Tensor, TchError>);

impl Criterion for MeanError {
    fn share(
        &self,
        logits: &Tensor,
        labels: &Labels,
        _: Option<&Weights>,
        totals: &mut dyn Totals,
    ) -> Result<Tensor> {
        let kind = logits.f_kind()?;
        let labels = labels.dense(kind)?.f_to_kind(kind)?;
        let errors = VoxelSum { sum: (self.0)(logits, &labels)?, count: logits.numel() };
        errors.mean(totals)
    }
}
