//! Stochastic gradient descent.

use tch::{TchError, Tensor};

use crate::config::Parameter;
use crate::ffi::tensor::{SgdStep, fused_sgd};

use super::super::optimizer::{Algorithm, OptimizerEntry, Update};
use super::super::state::{Rates, Setting, Settings};
use super::per_tensor::{each, step_number};

pub static ENTRY: OptimizerEntry = OptimizerEntry {
    name: "SGD",
    meaning: "stochastic gradient descent with momentum",
    parameters: &[Parameter::number("momentum", 0.0, "momentum, required; 0 for none")
        .at_least(0.0)
        .optional()],
    build: |section| match section.maybe_number("momentum") {
        Some(momentum) => Ok(Box::new(Sgd { momentum, dampening: 0.0, nesterov: false })),
        None => Err(section.error("momentum", "SGD needs a momentum; write 0 for none")),
    },
};

/// With all keys of torch's.
pub static UPSTREAM: OptimizerEntry = OptimizerEntry {
    name: "SGD",
    meaning: "stochastic gradient descent with momentum",
    parameters: &[
        Parameter::number("momentum", 0.0, "momentum").at_least(0.0),
        Parameter::number("dampening", 0.0, "how much less of the gradient enters the momentum"),
        Parameter::flag("nesterov", false, "Nesterov's momentum, without dampening"),
    ],
    build: |section| {
        let (momentum, dampening) = (section.number("momentum"), section.number("dampening"));
        let nesterov = section.flag("nesterov");
        if nesterov && (momentum == 0.0 || dampening != 0.0) {
            return Err(section.error(
                "nesterov",
                "Nesterov's momentum needs a `momentum` above 0 and no `dampening`",
            ));
        }
        Ok(Box::new(Sgd { momentum, dampening, nesterov }))
    },
};

/// `torch.optim.SGD`.
#[derive(Debug)]
struct Sgd {
    momentum: f64,
    dampening: f64,
    nesterov: bool,
}

impl Sgd {
    fn current(&self, rates: &Rates) -> f64 {
        rates.momentum.unwrap_or(self.momentum)
    }
}

impl Sgd {
    /// A step with dampening or Nesterov's momentum.
    fn step_one_by_one(&self, update: &Update<'_>) -> Result<(), TchError> {
        let (rate, momentum) = (update.rates.learning_rate, self.current(&update.rates));
        // The first gradient enters the momentum whole.
        let share = if step_number(update)? <= 1.0 { 1.0 } else { 1.0 - self.dampening };
        each(update, |parameter, gradient, kept| {
            let change = match kept.first_mut() {
                None => gradient.shallow_clone(),
                Some(buffer) => {
                    let _ =
                        buffer.f_mul_scalar_(momentum)?.f_add_(&gradient.f_mul_scalar(share)?)?;
                    match self.nesterov {
                        true => gradient.f_add(&buffer.f_mul_scalar(momentum)?)?,
                        false => buffer.shallow_clone(),
                    }
                }
            };
            let _ = parameter.f_sub_(&change.f_mul_scalar(rate)?)?;
            Ok(())
        })
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
        if self.nesterov || self.dampening != 0.0 {
            return self.step_one_by_one(&update);
        }
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
            .with("dampening", self.dampening)
            .with("weight_decay", weight_decay)
            .with("nesterov", self.nesterov)
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
