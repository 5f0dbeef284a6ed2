//! Stochastic gradient descent.

use tch::{TchError, Tensor};

use crate::config::Parameter;
use crate::ffi::tensor::{SgdStep, fused_sgd};

use super::super::optimizer::{Algorithm, OptimizerEntry, Update};
use super::super::state::{Rates, Setting, Settings};

pub static ENTRY: OptimizerEntry = OptimizerEntry {
    name: "SGD",
    meaning: "stochastic gradient descent with momentum",
    parameters: &[Parameter::number("momentum", 0.0, "momentum, required; 0 for none")
        .at_least(0.0)
        .optional()],
    build: |section| match section.maybe_number("momentum") {
        Some(momentum) => Ok(Box::new(Sgd { momentum })),
        None => Err(section.error("momentum", "SGD needs a momentum; write 0 for none")),
    },
};

/// `torch.optim.SGD` without dampening.
#[derive(Debug)]
struct Sgd {
    momentum: f64,
}

impl Sgd {
    fn current(&self, rates: &Rates) -> f64 {
        rates.momentum.unwrap_or(self.momentum)
    }
}

impl Algorithm for Sgd {
    fn momentum(&self) -> Option<f64> {
        Some(self.momentum)
    }

    fn begin(
        &self,
        parameter: &Tensor,
        rates: &Rates,
    ) -> Result<Vec<(&'static str, Tensor)>, TchError> {
        if self.current(rates) == 0.0 {
            return Ok(Vec::new());
        }
        Ok(vec![("momentum_buffer", parameter.f_zeros_like()?)])
    }

    fn step(&self, update: Update<'_>) -> Result<(), TchError> {
        fused_sgd(SgdStep {
            parameters: update.parameters,
            gradients: update.gradients,
            buffers: update.kept.first().map_or(&[], Vec::as_slice),
            learning_rate: update.rates.learning_rate,
            momentum: self.current(&update.rates),
            weight_decay: update.weight_decay,
            // torch's first step copies the gradient into the buffer; from a
            // buffer of zeros, momentum times nothing plus it is the same.
            first_step: false,
            skip: update.skip,
        })
    }

    fn settings(&self, rates: &Rates, weight_decay: f64) -> Settings {
        Settings::default()
            .with("lr", rates.learning_rate)
            .with("momentum", self.current(rates))
            .with("dampening", 0.0)
            .with("weight_decay", weight_decay)
            .with("nesterov", false)
            .with("initial_lr", rates.initial)
            .with("maximize", false)
            .with("foreach", Setting::Absent)
            .with("differentiable", false)
            .with("fused", Setting::Absent)
    }

    fn saved_momentum(&self, settings: &Settings) -> Option<f64> {
        settings.number("momentum")
    }

    fn knows(&self, name: &str) -> bool {
        name == "momentum_buffer"
    }

    fn counts_steps(&self) -> bool {
        false
    }

    /// A run without momentum keeps nothing; one that begins to use it starts from
    /// zero, as torch's does.
    fn may_begin_anew(&self) -> bool {
        true
    }
}
