//! The Dice coefficient, mean over channels.

use anyhow::Result;
use tch::Tensor;

use crate::config::Parameter;
use crate::loss::{Target, Truth, Weights, dice_per_channel};

use super::parameters::NAME;
use super::{Entry, Metric};

pub(super) static ENTRY: Entry = Entry {
    name: "DiceCoefficient",
    meaning: "mean over channels of 2 sum(p t) / (sum(p^2) + sum(t^2)), over the whole batch",
    parameters: &[
        NAME,
        Parameter::number("epsilon", 1e-6, "least denominator").at_least(f64::MIN_POSITIVE),
    ],
    uses_weight: false,
    target: Target::LikeLogits { float: false },
    check: |_, _| Ok(()),
    build: |section| Ok(Box::new(DiceCoefficient { epsilon: section.number("epsilon") })),
};

/// The mean of [`dice_per_channel`].
struct DiceCoefficient {
    epsilon: f64,
}

impl Metric for DiceCoefficient {
    fn score(
        &self,
        probabilities: &Tensor,
        target: &Tensor,
        _: Option<&Tensor>,
    ) -> Result<Option<f64>> {
        self.score_compact(probabilities, &Truth::Dense(target.shallow_clone()), None)
    }

    fn score_compact(
        &self,
        probabilities: &Tensor,
        truth: &Truth,
        _: Option<&Weights>,
    ) -> Result<Option<f64>> {
        let dice = dice_per_channel(probabilities, truth, None, self.epsilon)?;
        Ok(Some(dice.f_mean(dice.f_kind()?)?.f_double_value(&[])?))
    }
}
