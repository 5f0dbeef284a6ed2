//! The Dice coefficient, mean over channels.

use anyhow::Result;
use tch::Tensor;

use crate::config::Parameter;
use crate::target::{DiceSums, LabelForm, Labels, Weights};

use super::{MetricEntry, Scorer};

pub(super) static ENTRY: MetricEntry = MetricEntry {
    name: "DiceCoefficient",
    meaning: "mean over channels of 2 sum(p t) / (sum(p^2) + sum(t^2)), over the whole batch",
    parameters: &[
        Parameter::number("epsilon", 1e-6, "least denominator").at_least(f64::MIN_POSITIVE)
    ],
    labels: LabelForm::LikeLogits { float: false },
    uses_weight: false,
    build: |section| Ok(Box::new(DiceCoefficient { epsilon: section.number("epsilon") })),
};

/// The mean of [`DiceSums::coefficients`].
struct DiceCoefficient {
    epsilon: f64,
}

impl Scorer for DiceCoefficient {
    fn score(
        &self,
        probabilities: &Tensor,
        labels: &Labels,
        _: Option<&Weights>,
    ) -> Result<Option<f64>> {
        let sums = DiceSums::new(probabilities, labels)?;
        let dice = sums.coefficients(None, self.epsilon)?;
        Ok(Some(dice.f_mean(dice.f_kind()?)?.f_double_value(&[])?))
    }
}
