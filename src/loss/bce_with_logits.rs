//! Binary cross-entropy of every channel.

use anyhow::Result;
use tch::{Reduction, Tensor};

use crate::config::{ConfigError, Kind, Node, Parameter};
use crate::target::{LabelForm, Labels, TargetShapes, Weights};

use super::class_weights::ClassWeights;
use super::sum::VoxelSum;
use super::{Criterion, IgnoreIndex, LossEntry, Totals};

const POS_WEIGHT: Parameter = Parameter::custom(
    "pos_weight",
    &[Kind::Number { min: 0.0, max: f64::MAX }, Kind::Numbers { min: 0.0, max: f64::MAX, len: 0 }],
    "weight of the voxels that are 1 in the target: a number, or a list of one a channel",
);

pub(super) static ENTRY: LossEntry = LossEntry {
    name: "BCEWithLogitsLoss",
    meaning: "mean binary cross-entropy of the sigmoid of every channel",
    parameters: &[POS_WEIGHT],
    labels: LabelForm::LikeLogits { float: true },
    uses_weight: false,
    ignore_index: IgnoreIndex::Masked,
    build: |section| {
        let pos_weight = ClassWeights::read_any(section, POS_WEIGHT.name)?;
        Ok(Box::new(BceWithLogits { pos_weight }))
    },
};

/// torch's `BCEWithLogitsLoss`; labels (N, C, D, H, W).
pub(super) struct BceWithLogits {
    pub(super) pos_weight: Option<ClassWeights>,
}

impl BceWithLogits {
    fn sum(&self, logits: &Tensor, labels: &Labels) -> Result<VoxelSum> {
        let pos_weight = match &self.pos_weight {
            Some(weight) => Some(weight.like(logits)?.f_view([-1, 1, 1, 1])?),
            None => None,
        };
        let kind = logits.f_kind()?;
        let labels = labels.dense(kind)?.f_to_kind(kind)?;
        let none = None::<Tensor>;
        let sum =
            logits.f_binary_cross_entropy_with_logits(&labels, none, pos_weight, Reduction::Sum)?;
        Ok(VoxelSum { sum, count: logits.numel() })
    }
}

impl Criterion for BceWithLogits {
    fn share(
        &self,
        logits: &Tensor,
        labels: &Labels,
        _: Option<&Weights>,
        totals: &mut dyn Totals,
    ) -> Result<Tensor> {
        self.sum(logits, labels)?.mean(totals)
    }

    fn check(&self, node: &Node, shapes: &TargetShapes<'_>) -> Result<(), ConfigError> {
        self.pos_weight.as_ref().map_or(Ok(()), |weight| weight.check(node, shapes.out_channels))
    }
}
