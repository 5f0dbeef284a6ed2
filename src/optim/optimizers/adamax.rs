//! Adam with the largest gradient in place of the mean of squares.

use tch::TchError;

use super::super::optimizer::{OptimizerEntry, Update};
use super::super::state::{Rates, Settings};
use super::moments::{BETAS, EPSILON, MomentRule, with_moments, with_switches};
use super::per_tensor::{decay_towards, each, step_number, subtract_quotient};

pub static ENTRY: OptimizerEntry = OptimizerEntry {
    name: "Adamax",
    meaning: "Adam with the largest gradient in place of the mean of squares (Kingma & Ba 2015)",
    parameters: &[BETAS],
    build: |section| with_moments(section, Adamax),
};

/// [Kingma & Ba 2015](https://arxiv.org/abs/1412.6980), `torch.optim.Adamax`.
#[derive(Debug)]
struct Adamax;

impl MomentRule for Adamax {
    const MOMENTS: [&'static str; 2] = ["exp_avg", "exp_inf"];

    fn step(&self, (first, second): (f64, f64), update: Update<'_>) -> Result<(), TchError> {
        let rate = update.rates.learning_rate / (1.0 - first.powf(step_number(&update)?));
        each(&update, |parameter, gradient, kept| {
            decay_towards(&mut kept[0], gradient, first)?;
            let size = gradient.f_abs()?.f_add_scalar(EPSILON)?;
            let largest = kept[1].f_mul_scalar(second)?.f_maximum(&size)?;
            kept[1].f_copy_(&largest)?;
            subtract_quotient(parameter, rate, &kept[0], &largest)
        })
    }

    fn settings(&self, begun: Settings, rates: &Rates) -> Settings {
        with_switches(begun, rates)
    }
}
