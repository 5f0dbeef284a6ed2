//! Adam.

use tch::TchError;

use super::super::optimizer::{OptimizerEntry, Update};
use super::super::state::{Rates, Setting, Settings};
use super::moments::{BETAS, EPSILON, MomentRule, with_moments, with_switches};
use crate::ffi::tensor::{AdamStep, fused_adam};

pub static ENTRY: OptimizerEntry = OptimizerEntry {
    name: "Adam",
    meaning: "steps scaled by running means of the gradient and of its square \
              (Kingma & Ba 2015)",
    parameters: &[BETAS],
    build: |section| with_moments(section, Adam),
};

/// [Kingma & Ba 2015](https://arxiv.org/abs/1412.6980), `torch.optim.Adam`.
#[derive(Debug)]
struct Adam;

impl MomentRule for Adam {
    /// Kept with `amsgrad`.
    const OTHERS: &'static [&'static str] = &["max_exp_avg_sq"];

    fn step(&self, betas: (f64, f64), update: Update<'_>) -> Result<(), TchError> {
        fused_adam(AdamStep {
            parameters: update.parameters,
            gradients: update.gradients,
            first_moments: &update.kept[0],
            second_moments: &update.kept[1],
            step: update.step,
            learning_rate: update.rates.learning_rate,
            betas,
            weight_decay: update.weight_decay,
            epsilon: EPSILON,
            skip: update.skip,
        })
    }

    fn settings(&self, begun: Settings, rates: &Rates) -> Settings {
        with_switches(begun.with("amsgrad", false), rates).with("fused", Setting::Absent)
    }
}
