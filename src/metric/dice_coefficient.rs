//! The Dice coefficient, mean over channels.

use anyhow::Result;
use tch::{Kind, Tensor};

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
    fn sums(
        &self,
        probabilities: &Tensor,
        labels: &Labels,
        _: Option<&Weights>,
    ) -> Result<Vec<f64>> {
        Ok(Vec::try_from(DiceSums::new(probabilities, labels)?.flat()?.f_to_kind(Kind::Double)?)?)
    }

    fn value(&self, sums: &[f64]) -> Result<Option<f64>> {
        let sums = DiceSums::from_flat(&Tensor::f_from_slice(sums)?)?;
        let dice = sums.coefficients(None, self.epsilon)?;
        Ok(Some(dice.f_mean(Kind::Double)?.f_double_value(&[])?))
    }

    fn length(&self, channels: usize) -> usize {
        DiceSums::length(channels)
    }
}
