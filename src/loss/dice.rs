//! Dice, in the squared form of V-Net (Milletari et al. 2016, arXiv:1606.04797).

use anyhow::Result;
use tch::Tensor;

use super::registry::{
    CLASS_WEIGHT, IGNORE_INDEX, NAME, SIGMOID_NORMALIZATION, SKIP_LAST_TARGET, SQUEEZE_CHANNEL,
};
use super::{ALL_BUT_CHANNEL, ClassWeights, Criterion, Entry, Target};

/// Keeps an empty channel from dividing by zero.
pub(super) const EPSILON: f64 = 1e-6;

pub(super) static ENTRY: Entry = Entry {
    name: "DiceLoss",
    meaning: "1 - mean over channels of 2 sum(p t) / (sum(p^2) + sum(t^2)), over the whole batch",
    parameters: &[
        NAME,
        CLASS_WEIGHT,
        SIGMOID_NORMALIZATION,
        IGNORE_INDEX,
        SKIP_LAST_TARGET,
        SQUEEZE_CHANNEL,
    ],
    uses_weight: false,
    masks: true,
    ignored_label: None,
    target: Target::LikeLogits { float: false },
    build: |section| {
        Ok(Box::new(Dice {
            weight: section.maybe_numbers("weight").map(ClassWeights::new),
            normalization: Normalization::read(section.flag("sigmoid_normalization")),
        }))
    },
};

/// How logits become probabilities.
#[derive(Clone, Copy, Debug)]
pub(super) enum Normalization {
    Sigmoid,
    Softmax,
}

impl Normalization {
    pub(super) fn read(sigmoid: bool) -> Self {
        if sigmoid { Self::Sigmoid } else { Self::Softmax }
    }

    pub(super) fn apply(self, logits: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Sigmoid => logits.f_sigmoid()?,
            Self::Softmax => logits.f_softmax(1, logits.f_kind()?)?,
        })
    }
}

/// `2 Σpt / max(Σp² + Σt², epsilon)` of every channel, (C), summed over batch
/// and space; a class weight (C) multiplies `Σpt`.
///
/// `probabilities` and `target` are (N, C, D, H, W).
pub fn dice_per_channel(
    probabilities: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
    epsilon: f64,
) -> Result<Tensor> {
    let kind = probabilities.f_kind()?;
    let target = target.f_to_kind(kind)?;
    let sum = |product: Tensor| product.f_sum_dim_intlist(ALL_BUT_CHANNEL, false, kind);
    let mut intersection = sum(probabilities.f_mul(&target)?)?;
    if let Some(weight) = weight {
        intersection = intersection.f_mul(weight)?;
    }
    let squares = sum(probabilities.f_square()?)?.f_add(&sum(target.f_square()?)?)?;
    Ok(intersection.f_mul_scalar(2.0)?.f_div(&squares.f_clamp_min(epsilon)?)?)
}

/// 1 − the mean of [`dice_per_channel`].
pub(super) struct Dice {
    pub(super) weight: Option<ClassWeights>,
    pub(super) normalization: Normalization,
}

impl Criterion for Dice {
    fn forward(&self, logits: &Tensor, target: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let weight = self.weight.as_ref().map(|weight| weight.like(logits)).transpose()?;
        let probabilities = self.normalization.apply(logits)?;
        let dice = dice_per_channel(&probabilities, target, weight.as_ref(), EPSILON)?;
        Ok(dice.f_mean(logits.f_kind()?)?.f_neg()?.f_add_scalar(1.0)?)
    }
}
