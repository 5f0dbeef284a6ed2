//! The Dice losses as `wolny/pytorch-3dunet` has them: other names and factors around the
//! same sums.

use crate::config::{Parameter, Section};
use crate::target::LabelForm;

use super::bce_dice::BceDice;
use super::class_weights::{CLASS_WEIGHT, ClassWeights};
use super::dice::{Dice, Normalization};
use super::generalized_dice::GeneralizedDice;
use super::{IgnoreIndex, LossEntry};

pub(super) static DICE: LossEntry = LossEntry {
    name: "DiceLoss",
    meaning: "1 - mean over channels of 2 sum(p t) / (sum(p^2) + sum(t^2)), over the whole batch",
    parameters: &[CLASS_WEIGHT, NORMALIZATION],
    labels: LabelForm::LikeLogits { float: false },
    uses_weight: false,
    ignore_index: IgnoreIndex::Masked,
    build: |section| {
        Ok(Box::new(Dice {
            weight: ClassWeights::read(section),
            normalization: normalization(section),
        }))
    },
};

pub(super) static GENERALIZED_DICE: LossEntry = LossEntry {
    name: "GeneralizedDiceLoss",
    meaning: "1 - Dice of all channels together, each weighted by 1 / volume^2",
    parameters: &[NORMALIZATION],
    labels: LabelForm::LikeLogits { float: false },
    uses_weight: false,
    ignore_index: IgnoreIndex::Masked,
    build: |section| Ok(Box::new(GeneralizedDice { normalization: normalization(section) })),
};

pub(super) static BCE_DICE: LossEntry = LossEntry {
    name: "BCEDiceLoss",
    meaning: "BCEWithLogitsLoss + alpha * DiceLoss",
    parameters: &[Parameter::number("alpha", 1.0, "factor of Dice")],
    labels: LabelForm::LikeLogits { float: true },
    uses_weight: false,
    ignore_index: IgnoreIndex::Masked,
    build: |section| Ok(Box::new(BceDice::new(1.0, section.number("alpha")))),
};

const NORMALIZATION: Parameter = Parameter::choice(
    "normalization",
    "sigmoid",
    &["sigmoid", "softmax", "none"],
    "what turns logits into probabilities",
);

fn normalization(section: &Section<'_>) -> Normalization {
    match section.text(NORMALIZATION.name) {
        "softmax" => Normalization::Softmax,
        "none" => Normalization::None,
        _ => Normalization::Sigmoid,
    }
}
