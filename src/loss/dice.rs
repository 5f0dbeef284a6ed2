//! Dice, in the squared form of V-Net (Milletari et al. 2016, arXiv:1606.04797).

use anyhow::Result;
use tch::{TchError, Tensor};

use crate::config::{ConfigError, Node, Parameter, Section};
use crate::target::{DiceSums, LabelForm, Labels, TargetShapes, Weights};

use super::class_weights::{CLASS_WEIGHT, ClassWeights};
use super::{Criterion, IgnoreIndex, Joined, LossEntry, Totals};

/// Keeps an empty channel from dividing by zero.
pub(super) const EPSILON: f64 = 1e-6;

pub(super) static ENTRY: LossEntry = LossEntry {
    name: "DiceLoss",
    meaning: "1 - mean over channels of 2 sum(p t) / (sum(p^2) + sum(t^2)), over the whole batch",
    parameters: &[CLASS_WEIGHT, SIGMOID_NORMALIZATION],
    labels: LabelForm::LikeLogits { float: false },
    uses_weight: false,
    ignore_index: IgnoreIndex::Masked,
    build: |section| {
        Ok(Box::new(Dice {
            weight: ClassWeights::read(section),
            normalization: Normalization::read(section),
        }))
    },
};

/// The key that chooses a [`Normalization`].
pub(super) const SIGMOID_NORMALIZATION: Parameter = Parameter::flag(
    "sigmoid_normalization",
    true,
    "true: sigmoid of every channel; false: softmax over the channels",
);

/// How logits become probabilities.
#[derive(Clone, Copy, Debug)]
pub(super) enum Normalization {
    Sigmoid,
    Softmax,
    /// The network gives probabilities itself.
    None,
}

impl Normalization {
    /// The choice of [`SIGMOID_NORMALIZATION`].
    pub(super) fn read(section: &Section<'_>) -> Self {
        if section.flag(SIGMOID_NORMALIZATION.name) { Self::Sigmoid } else { Self::Softmax }
    }

    /// The probabilities of logits (N, C, D, H, W), of the same shape.
    pub(super) fn apply(self, logits: &Tensor) -> Result<Tensor, TchError> {
        match self {
            Self::Sigmoid => logits.f_sigmoid(),
            Self::Softmax => logits.f_softmax(1, logits.f_kind()?),
            Self::None => Ok(logits.shallow_clone()),
        }
    }
}

/// 1 − the mean of the Dice coefficients of the channels.
pub(super) struct Dice {
    pub(super) weight: Option<ClassWeights>,
    pub(super) normalization: Normalization,
}

impl Dice {
    fn value(&self, sums: &DiceSums) -> Result<Tensor> {
        let weight = self.weight.as_ref().map(|weight| weight.like(&sums.both)).transpose()?;
        let coefficients = sums.coefficients(weight.as_ref(), EPSILON)?;
        Ok(coefficients.f_mean(coefficients.f_kind()?)?.f_rsub_scalar(1.0)?)
    }
}

impl Criterion for Dice {
    fn share(
        &self,
        logits: &Tensor,
        labels: &Labels,
        _: Option<&Weights>,
        totals: &mut dyn Totals,
    ) -> Result<Tensor> {
        let sums = DiceSums::new(&self.normalization.apply(logits)?, labels)?;
        let sums = DiceSums::from_flat(&totals.join(sums.flat()?)?)?;
        totals.share(self.value(&sums)?)
    }

    fn joined(&self, channels: usize) -> Joined {
        Joined::sums(DiceSums::length(channels))
    }

    fn check(&self, node: &Node, shapes: &TargetShapes<'_>) -> Result<(), ConfigError> {
        self.weight.as_ref().map_or(Ok(()), |weight| weight.check(node, shapes.out_channels))
    }
}
