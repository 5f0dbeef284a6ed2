//! Adam with decoupled weight decay.

use tch::TchError;

use super::super::optimizer::{OptimizerEntry, Update};
use super::super::state::{Rates, Setting, Settings};
use super::moments::{BETAS, EPSILON, MomentRule, with_moments, with_switches};
use crate::ffi::tensor::{AdamStep, fused_adam};

pub static ENTRY: OptimizerEntry = OptimizerEntry {
    name: "AdamW",
    meaning: "Adam whose weight decay shrinks the weights themselves (Loshchilov & Hutter 2019)",
    parameters: &[BETAS],
    build: |section| with_moments(section, AdamW),
};

/// [Loshchilov & Hutter 2019](https://arxiv.org/abs/1711.05101), `torch.optim.AdamW`.
#[derive(Debug)]
struct AdamW;

impl MomentRule for AdamW {
    /// Kept with `amsgrad`.
    const OTHERS: &'static [&'static str] = &["max_exp_avg_sq"];

    fn step(&self, betas: (f64, f64), update: Update<'_>) -> Result<(), TchError> {
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
            betas,
            weight_decay: 0.0,
            epsilon: EPSILON,
            skip: update.skip,
        })
    }

    fn settings(&self, begun: Settings, rates: &Rates) -> Settings {
        with_switches(begun.with("amsgrad", false), rates)
            .with("fused", Setting::Absent)
            .with("decoupled_weight_decay", true)
    }
}
