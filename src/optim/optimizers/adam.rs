//! Adam.

use tch::{TchError, Tensor};

use crate::config::Parameter;
use crate::ffi::tensor::{AdamStep, fused_adam};

use super::super::optimizer::{Algorithm, OptimizerEntry, Update};
use super::super::state::{Rates, Setting, Settings};

pub static ENTRY: OptimizerEntry = OptimizerEntry {
    name: "Adam",
    meaning: "steps scaled by running means of the gradient and of its square \
              (Kingma & Ba 2015)",
    parameters: &[Parameter::numbers(
        "betas",
        &[0.9, 0.999],
        "decay of the first and second moments",
    )
    .within(0.0, 1.0)
    .of_length(2)],
    build: |section| {
        let betas = section.numbers("betas");
        if betas.iter().any(|beta| *beta >= 1.0) {
            return Err(section.error("betas", "both must be below 1"));
        }
        Ok(Box::new(Adam { betas: (betas[0], betas[1]) }))
    },
};

/// torch's default.
const EPSILON: f64 = 1e-8;

/// [Kingma & Ba 2015](https://arxiv.org/abs/1412.6980), `torch.optim.Adam`. A scheduler
/// that cycles momentum changes the first beta.
#[derive(Debug)]
struct Adam {
    betas: (f64, f64),
}

impl Adam {
    fn betas(&self, rates: &Rates) -> (f64, f64) {
        (rates.momentum.unwrap_or(self.betas.0), self.betas.1)
    }
}

impl Algorithm for Adam {
    fn momentum(&self) -> Option<f64> {
        Some(self.betas.0)
    }

    fn begin(
        &self,
        parameter: &Tensor,
        _: &Rates,
    ) -> Result<Vec<(&'static str, Tensor)>, TchError> {
        Ok(vec![("exp_avg", parameter.f_zeros_like()?), ("exp_avg_sq", parameter.f_zeros_like()?)])
    }

    fn step(&self, update: Update<'_>) -> Result<(), TchError> {
        fused_adam(AdamStep {
            parameters: update.parameters,
            gradients: update.gradients,
            first_moments: &update.kept[0],
            second_moments: &update.kept[1],
            step: update.step,
            learning_rate: update.rates.learning_rate,
            betas: self.betas(&update.rates),
            weight_decay: update.weight_decay,
            epsilon: EPSILON,
            skip: update.skip,
        })
    }

    fn settings(&self, rates: &Rates, weight_decay: f64) -> Settings {
        Settings::default()
            .with("lr", rates.learning_rate)
            .with("betas", self.betas(rates))
            .with("eps", EPSILON)
            .with("weight_decay", weight_decay)
            .with("amsgrad", false)
            .with("initial_lr", rates.initial)
            .with("maximize", false)
            .with("foreach", Setting::Absent)
            .with("capturable", false)
            .with("differentiable", false)
            .with("fused", Setting::Absent)
    }

    fn saved_momentum(&self, settings: &Settings) -> Option<f64> {
        settings.pair("betas").map(|(first, _)| first)
    }

    /// `max_exp_avg_sq` is in files of torch's Adam with `amsgrad`.
    fn knows(&self, name: &str) -> bool {
        ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"].contains(&name)
    }
}
