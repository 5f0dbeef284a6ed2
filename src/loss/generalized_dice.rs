//! Dice with every channel weighted by the inverse of its volume.

use anyhow::Result;
use tch::Tensor;

use super::dice::{EPSILON, Normalization, Sums};
use super::parameters::{
    IGNORE_INDEX, NAME, SIGMOID_NORMALIZATION, SKIP_LAST_TARGET, SQUEEZE_CHANNEL,
};
use super::{ALL_BUT_CHANNEL, Criterion, Entry, Target, Truth, Weights};

pub(super) static ENTRY: Entry = Entry {
    name: "GeneralizedDiceLoss",
    meaning: "1 - Dice of all channels together, each weighted by 1 / volume^2",
    parameters: &[NAME, SIGMOID_NORMALIZATION, IGNORE_INDEX, SKIP_LAST_TARGET, SQUEEZE_CHANNEL],
    uses_weight: false,
    masks: true,
    ignored_label: None,
    target: Target::LikeLogits { float: false },
    build: |section| {
        Ok(Box::new(GeneralizedDice {
            normalization: Normalization::read(section.flag("sigmoid_normalization")),
        }))
    },
};

/// `1 − 2 Σ_c w Σpt / Σ_c max(w Σ(p + t), 1e-6)` with `w = 1 / max((Σt)², 1e-6)`
/// (Sudre et al. 2017, arXiv:1707.03237). With one channel the background is
/// added as a second.
struct GeneralizedDice {
    normalization: Normalization,
}

impl Criterion for GeneralizedDice {
    fn forward(&self, logits: &Tensor, target: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        self.forward_compact(logits, &Truth::Dense(target.shallow_clone()), None)
    }

    fn forward_compact(
        &self,
        logits: &Tensor,
        truth: &Truth,
        _: Option<&Weights>,
    ) -> Result<Tensor> {
        let kind = logits.f_kind()?;
        let probabilities = self.normalization.apply(logits)?;
        let voxels = logits.numel() as f64 / logits.size()[1] as f64;

        let Sums { mut both, truth: mut volume, .. } = Sums::new(&probabilities, truth)?;
        let mut predicted = probabilities.f_sum_dim_intlist(ALL_BUT_CHANNEL, false, kind)?;
        if logits.size()[1] == 1 {
            // The sums of 1 - p and 1 - t follow from those of p and t.
            let neither = both.f_sub(&predicted)?.f_sub(&volume)?.f_add_scalar(voxels)?;
            both = Tensor::f_cat(&[both, neither], 0)?;
            predicted = Tensor::f_cat(&[&predicted, &predicted.f_rsub_scalar(voxels)?], 0)?;
            volume = Tensor::f_cat(&[&volume, &volume.f_rsub_scalar(voxels)?], 0)?;
        }
        let weight = volume.f_square()?.f_clamp_min(EPSILON)?.f_reciprocal()?;
        let both = both.f_mul(&weight)?.f_sum(kind)?;
        let all = predicted.f_add(&volume)?.f_mul(&weight)?.f_clamp_min(EPSILON)?.f_sum(kind)?;
        Ok(both.f_div(&all)?.f_mul_scalar(-2.0)?.f_add_scalar(1.0)?)
    }
}
