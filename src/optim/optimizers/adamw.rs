//! Adam with decoupled weight decay.

use tch::{TchError, Tensor};

use super::super::optimizer::{Algorithm, OptimizerEntry, Update};
use super::super::state::{Rates, Setting, Settings};
use super::moments::{BETAS, Betas, EPSILON, with_switches};
use crate::ffi::tensor::{AdamStep, fused_adam};

pub static ENTRY: OptimizerEntry = OptimizerEntry {
    name: "AdamW",
    meaning: "Adam whose weight decay shrinks the weights themselves (Loshchilov & Hutter 2019)",
    parameters: &[BETAS],
    build: |section| Ok(Box::new(AdamW(Betas::read(section)?))),
};

/// [Loshchilov & Hutter 2019](https://arxiv.org/abs/1711.05101), `torch.optim.AdamW`.
#[derive(Debug)]
struct AdamW(Betas);

impl Algorithm for AdamW {
    fn momentum(&self) -> Option<f64> {
        Some(self.0.0)
    }

    fn begin(
        &self,
        parameter: &Tensor,
        _: &Rates,
    ) -> Result<Vec<(&'static str, Tensor)>, TchError> {
        Ok(vec![("exp_avg", parameter.f_zeros_like()?), ("exp_avg_sq", parameter.f_zeros_like()?)])
    }

    fn step(&self, update: Update<'_>) -> Result<(), TchError> {
        let decay = update.rates.learning_rate * update.weight_decay;
        if decay != 0.0 {
            tch::no_grad(|| -> Result<(), TchError> {
                // Where the step is left out, weights keep their size.
                let factor = match update.skip {
                    Some(skip) => skip.f_mul_scalar(decay)?.f_add_scalar(1.0 - decay)?,
                    None => update.step.f_full_like(1.0 - decay)?,
                };
                for parameter in update.parameters {
                    let _ = parameter.shallow_clone().f_mul_(&factor)?;
                }
                Ok(())
            })?;
        }
        fused_adam(AdamStep {
            parameters: update.parameters,
            gradients: update.gradients,
            first_moments: &update.kept[0],
            second_moments: &update.kept[1],
            step: update.step,
            learning_rate: update.rates.learning_rate,
            betas: self.0.now(&update.rates),
            weight_decay: 0.0,
            epsilon: EPSILON,
            skip: update.skip,
        })
    }

    fn settings(&self, rates: &Rates, weight_decay: f64) -> Settings {
        with_switches(self.0.settings(rates, weight_decay).with("amsgrad", false), rates)
            .with("fused", Setting::Absent)
            .with("decoupled_weight_decay", true)
    }

    fn saved_momentum(&self, settings: &Settings) -> Option<f64> {
        Betas::saved(settings)
    }

    fn knows(&self, name: &str) -> bool {
        ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"].contains(&name)
    }
}
