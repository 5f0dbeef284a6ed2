//! Dice, in the squared form of V-Net (Milletari et al. 2016, arXiv:1606.04797).

use anyhow::Result;
use tch::Tensor;

use super::parameters::{
    CLASS_WEIGHT, IGNORE_INDEX, NAME, SIGMOID_NORMALIZATION, SKIP_LAST_TARGET, SQUEEZE_CHANNEL,
};
use super::{ALL_BUT_CHANNEL, ClassWeights, Criterion, Entry, Target, Truth, Weights};

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

/// Sums over batch and space that Dice is made of, each (C).
pub struct Sums {
    /// Σ p t
    pub both: Tensor,
    /// Σ t
    pub truth: Tensor,
    /// Σ t²
    pub truth_squared: Tensor,
}

impl Sums {
    /// Of probabilities (N, C, D, H, W) and labels of that shape.
    pub fn new(probabilities: &Tensor, truth: &Truth) -> Result<Self> {
        let kind = probabilities.f_kind()?;
        let sum = |x: &Tensor| x.f_sum_dim_intlist(ALL_BUT_CHANNEL, false, kind);
        match truth {
            Truth::Dense(target) => {
                let target = target.f_to_kind(kind)?;
                Ok(Self {
                    both: sum(&probabilities.f_mul(&target)?)?,
                    truth: sum(&target)?,
                    truth_squared: sum(&target.f_square()?)?,
                })
            }
            Truth::OneHot { index, channels } => {
                // Of every voxel's probabilities only that of its class counts.
                let set = index.f_ge(0)?.f_to_kind(kind)?.f_flatten(0, -1)?;
                let class = index.f_clamp_min(0)?;
                let of_class = probabilities.f_gather(1, &class.f_unsqueeze(1)?, false)?;
                let class = class.f_flatten(0, -1)?;
                let zeros = Tensor::f_zeros(*channels, (kind, set.device()))?;
                let both =
                    zeros.f_index_add(0, &class, &of_class.f_flatten(0, -1)?.f_mul(&set)?)?;
                let truth = zeros.f_index_add(0, &class, &set)?;
                Ok(Self { both, truth_squared: truth.shallow_clone(), truth })
            }
        }
    }
}

/// `2 Σpt / max(Σp² + Σt², epsilon)` of every channel, (C), summed over batch
/// and space; a class weight (C) multiplies `Σpt`.
///
/// `probabilities` and the labels are (N, C, D, H, W).
pub fn dice_per_channel(
    probabilities: &Tensor,
    truth: &Truth,
    weight: Option<&Tensor>,
    epsilon: f64,
) -> Result<Tensor> {
    let kind = probabilities.f_kind()?;
    let Sums { mut both, truth_squared, .. } = Sums::new(probabilities, truth)?;
    if let Some(weight) = weight {
        both = both.f_mul(weight)?;
    }
    let squares = probabilities.f_square()?.f_sum_dim_intlist(ALL_BUT_CHANNEL, false, kind)?;
    let all = squares.f_add(&truth_squared)?.f_clamp_min(epsilon)?;
    Ok(both.f_mul_scalar(2.0)?.f_div(&all)?)
}

/// 1 − the mean of [`dice_per_channel`].
pub(super) struct Dice {
    pub(super) weight: Option<ClassWeights>,
    pub(super) normalization: Normalization,
}

impl Criterion for Dice {
    fn forward(&self, logits: &Tensor, target: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        self.forward_compact(logits, &Truth::Dense(target.shallow_clone()), None)
    }

    fn forward_compact(
        &self,
        logits: &Tensor,
        truth: &Truth,
        _: Option<&Weights>,
    ) -> Result<Tensor> {
        let weight = self.weight.as_ref().map(|weight| weight.like(logits)).transpose()?;
        let probabilities = self.normalization.apply(logits)?;
        let dice = dice_per_channel(&probabilities, truth, weight.as_ref(), EPSILON)?;
        Ok(dice.f_mean(logits.f_kind()?)?.f_rsub_scalar(1.0)?)
    }
}
