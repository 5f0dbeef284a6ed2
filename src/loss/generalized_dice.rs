//! Dice with every channel weighted by the inverse of its volume.

use anyhow::Result;
use tch::Tensor;

use crate::target::{ALL_BUT_CHANNEL, LabelForm, LabelSums, Labels, Weights};

use super::dice::{EPSILON, Normalization, SIGMOID_NORMALIZATION};
use super::{Criterion, IgnoreIndex, Joined, LossEntry, Totals};

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
    /// Voxels of the batch, (1).
    voxels: Tensor,
}

impl Sums {
    /// Of probabilities (N, C, D, H, W) and labels of that shape.
    fn new(probabilities: &Tensor, labels: &Labels) -> Result<Self> {
        let kind = probabilities.f_kind()?;
        let voxels = probabilities.numel() as f64 / probabilities.size()[1] as f64;
        let voxels = Tensor::f_full([1], voxels, (kind, probabilities.device()))?;
        let LabelSums { both, labels, .. } = LabelSums::new(probabilities, labels)?;
        let probabilities = probabilities.f_sum_dim_intlist(ALL_BUT_CHANNEL, false, kind)?;
        Ok(Self { both, probabilities, labels, voxels })
    }

    /// The sums over all parts of the batch.
    fn joined(self, totals: &mut dyn Totals) -> Result<Self> {
        let Self { both, probabilities, labels, voxels } = self;
        let channels = both.size()[0];
        let all = totals.join(Tensor::f_cat(&[both, probabilities, labels, voxels], 0)?)?;
        let part = |index: i64| all.f_narrow(0, index * channels, channels);
        let voxels = all.f_narrow(0, 3 * channels, 1)?;
        Ok(Self { both: part(0)?, probabilities: part(1)?, labels: part(2)?, voxels })
    }

    /// The sums of one channel with those of the background, 1 − p and 1 − t.
    fn with_background(self) -> Result<Self> {
        let Self { both, probabilities, labels, voxels } = self;
        let neither = both.f_sub(&probabilities)?.f_sub(&labels)?.f_add(&voxels)?;
        Ok(Self {
            both: Tensor::f_cat(&[both, neither], 0)?,
            probabilities: Tensor::f_cat(&[&probabilities, &voxels.f_sub(&probabilities)?], 0)?,
            labels: Tensor::f_cat(&[&labels, &voxels.f_sub(&labels)?], 0)?,
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
    fn share(
        &self,
        logits: &Tensor,
        labels: &Labels,
        _: Option<&Weights>,
        totals: &mut dyn Totals,
    ) -> Result<Tensor> {
        let sums = Sums::new(&self.normalization.apply(logits)?, labels)?;
        let value = sums.joined(totals)?.value()?;
        totals.share(value)
    }

    fn joined(&self, channels: usize) -> Joined {
        // Three sums of each channel, and the number of voxels.
        Joined::sums(3 * channels + 1)
    }
}
