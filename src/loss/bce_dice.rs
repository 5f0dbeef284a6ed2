//! A sum of binary cross-entropy and Dice.

use anyhow::Result;
use tch::Tensor;

use crate::config::Parameter;
use crate::target::{LabelForm, Labels, Weights};

use super::bce_with_logits::BceWithLogits;
use super::dice::{Dice, Normalization};
use super::{Criterion, IgnoreIndex, Joined, LossEntry, Totals};

pub(super) static ENTRY: LossEntry = LossEntry {
    name: "BCEDiceLoss",
    meaning: "alpha * BCEWithLogitsLoss + beta * DiceLoss",
    parameters: &[
        Parameter::number("alpha", 1.0, "factor of the cross-entropy"),
        Parameter::number("alphs", 1.0, "misspelling of `alpha` that older files carry").optional(),
        Parameter::number("beta", 1.0, "factor of Dice"),
    ],
    labels: LabelForm::LikeLogits { float: true },
    uses_weight: false,
    ignore_index: IgnoreIndex::Masked,
    build: |section| {
        let mut alpha = section.number("alpha");
        if let Some(key) = section.child("alphs") {
            match section.child("alpha") {
                Some(_) => key.warn("is a misspelling of `alpha`; ignored, since `alpha` is given"),
                None => {
                    key.warn("is a misspelling; taken as `alpha`");
                    alpha = section.maybe_number("alphs").unwrap_or(alpha);
                }
            }
        }
        if alpha == 0.0 && section.number("beta") == 0.0 {
            section.node.warn("`alpha` and `beta` are 0: nothing is learned");
        }
        Ok(Box::new(BceDice::new(alpha, section.number("beta"))))
    },
};

/// `alpha` times binary cross-entropy and `beta` times Dice.
pub(super) struct BceDice {
    alpha: f64,
    beta: f64,
    bce: BceWithLogits,
    dice: Dice,
}

impl BceDice {
    pub(super) fn new(alpha: f64, beta: f64) -> Self {
        BceDice {
            alpha,
            beta,
            bce: BceWithLogits { pos_weight: None },
            dice: Dice { weight: None, normalization: Normalization::Sigmoid },
        }
    }
}

impl Criterion for BceDice {
    fn share(
        &self,
        logits: &Tensor,
        labels: &Labels,
        _: Option<&Weights>,
        totals: &mut dyn Totals,
    ) -> Result<Tensor> {
        let bce = self.bce.share(logits, labels, None, totals)?.f_mul_scalar(self.alpha)?;
        let dice = self.dice.share(logits, labels, None, totals)?.f_mul_scalar(self.beta)?;
        Ok(bce.f_add(&dice)?)
    }

    fn joined(&self, channels: usize) -> Joined {
        let (bce, dice) = (self.bce.joined(channels), self.dice.joined(channels));
        Joined {
            lengths: [bce.lengths, dice.lengths].concat(),
            of_logits: bce.of_logits || dice.of_logits,
        }
    }
}
