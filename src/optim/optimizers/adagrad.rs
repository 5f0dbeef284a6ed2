//! Adagrad.

use tch::{TchError, Tensor};

use super::super::optimizer::{Algorithm, OptimizerEntry, Update};
use super::super::state::{Rates, Setting, Settings};
use super::per_tensor::{each, step_number, subtract_quotient};
use crate::config::Parameter;

pub static ENTRY: OptimizerEntry = OptimizerEntry {
    name: "Adagrad",
    meaning: "steps scaled by the sum of the squares of all gradients (Duchi et al. 2011)",
    parameters: &[Parameter::number("lr_decay", 0.0, "how the learning rate falls with the steps")
        .at_least(0.0)],
    build: |section| Ok(Box::new(Adagrad { decay: section.number("lr_decay") })),
};

/// torch's default.
const EPSILON: f64 = 1e-10;

/// [Duchi et al. 2011](https://jmlr.org/papers/v12/duchi11a.html), `torch.optim.Adagrad`.
#[derive(Debug)]
struct Adagrad {
    decay: f64,
}

impl Algorithm for Adagrad {
    fn momentum(&self) -> Option<f64> {
        None
    }

    fn begin(
        &self,
        parameter: &Tensor,
        _: &Rates,
    ) -> Result<Vec<(&'static str, Tensor)>, TchError> {
        Ok(vec![("sum", parameter.f_zeros_like()?)])
    }

    fn step(&self, update: Update<'_>) -> Result<(), TchError> {
        let before = step_number(&update)? - 1.0;
        let rate = update.rates.learning_rate / (1.0 + before * self.decay);
        each(&update, |parameter, gradient, kept| {
            let _ = kept[0].f_add_(&gradient.f_square()?)?;
            let size = kept[0].f_sqrt()?.f_add_scalar(EPSILON)?;
            subtract_quotient(parameter, rate, gradient, &size)
        })
    }

    fn settings(&self, rates: &Rates, weight_decay: f64) -> Settings {
        Settings::default()
            .with("lr", rates.learning_rate)
            .with("lr_decay", self.decay)
            .with("eps", EPSILON)
            .with("weight_decay", weight_decay)
            .with("initial_accumulator_value", 0)
            .with("initial_lr", rates.initial)
            .with("foreach", Setting::Absent)
            .with("maximize", false)
            .with("differentiable", false)
            .with("fused", Setting::Absent)
    }

    fn saved_momentum(&self, _: &Settings) -> Option<f64> {
        None
    }

    fn knows(&self, name: &str) -> bool {
        name == "sum"
    }
}
