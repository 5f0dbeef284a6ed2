//! Dice with every channel weighted by the inverse of its volume.

use anyhow::Result;
use tch::Tensor;

use crate::target::{ALL_BUT_CHANNEL, LabelForm, LabelSums, Labels, Weights};

use super::dice::{EPSILON, Normalization, SIGMOID_NORMALIZATION};
use super::{Criterion, IgnoreIndex, LossEntry};

pub(super) static ENTRY: LossEntry = LossEntry {
    name: "GeneralizedDiceLoss",
    meaning: "1 - Dice of all channels together, each weighted by 1 / volume^2",
    parameters: &[SIGMOID_NORMALIZATION],
    labels: LabelForm::LikeLogits { float: false },
    uses_weight: false,
    ignore_index: IgnoreIndex::Masked,
    build: |section| Ok(Box::new(GeneralizedDice { normalization: Normalization::read(section) })),
};

/// `1 − 2 Σ_c w Σpt / Σ_c max(w Σ(p + t), 1e-6)` with `w = 1 / max((Σt)², 1e-6)`
/// (Sudre et al. 2017, arXiv:1707.03237). With one channel the background is
/// added as a second.
pub(super) struct GeneralizedDice {
    pub(super) normalization: Normalization,
}

/// Sums over batch and space that the loss is made of, each (C).
struct Sums {
    /// Σ p t
    both: Tensor,
    /// Σ p
    probabilities: Tensor,
    /// Σ t
    labels: Tensor,
    /// Voxels of the batch.
    voxels: f64,
}

impl Sums {
    /// Of probabilities (N, C, D, H, W) and labels of that shape.
    fn new(probabilities: &Tensor, labels: &Labels) -> Result<Self> {
        let kind = probabilities.f_kind()?;
        let voxels = probabilities.numel() as f64 / probabilities.size()[1] as f64;
        let LabelSums { both, labels, .. } = LabelSums::new(probabilities, labels)?;
        let probabilities = probabilities.f_sum_dim_intlist(ALL_BUT_CHANNEL, false, kind)?;
        Ok(Self { both, probabilities, labels, voxels })
    }

    /// The sums of one channel with those of the background, 1 − p and 1 − t.
    fn with_background(self) -> Result<Self> {
        let Self { both, probabilities, labels, voxels } = self;
        let neither = both.f_sub(&probabilities)?.f_sub(&labels)?.f_add_scalar(voxels)?;
        Ok(Self {
            both: Tensor::f_cat(&[both, neither], 0)?,
            probabilities: Tensor::f_cat(
                &[&probabilities, &probabilities.f_rsub_scalar(voxels)?],
                0,
            )?,
            labels: Tensor::f_cat(&[&labels, &labels.f_rsub_scalar(voxels)?], 0)?,
            voxels,
        })
    }

    /// The loss, a scalar.
    fn value(self) -> Result<Tensor> {
        let Self { both, probabilities, labels, .. } =
            if self.both.numel() == 1 { self.with_background()? } else { self };
        let kind = both.f_kind()?;
        let weight = labels.f_square()?.f_clamp_min(EPSILON)?.f_reciprocal()?;
        let both = both.f_mul(&weight)?.f_sum(kind)?;
        let all = probabilities.f_add(&labels)?.f_mul(&weight)?.f_clamp_min(EPSILON)?;
        Ok(both.f_div(&all.f_sum(kind)?)?.f_mul_scalar(-2.0)?.f_add_scalar(1.0)?)
    }
}

impl Criterion for GeneralizedDice {
    fn forward(&self, logits: &Tensor, labels: &Labels, _: Option<&Weights>) -> Result<Tensor> {
        Sums::new(&self.normalization.apply(logits)?, labels)?.value()
    }
}
