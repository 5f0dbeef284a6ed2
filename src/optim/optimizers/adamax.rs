//! Adam with the largest gradient in place of the mean of squares.

use tch::{TchError, Tensor};

use super::super::optimizer::{Algorithm, OptimizerEntry, Update};
use super::super::state::{Rates, Settings};
use super::moments::{BETAS, Betas, EPSILON, with_switches};
use super::per_tensor::{decay_towards, each, step_number, subtract_quotient};

pub static ENTRY: OptimizerEntry = OptimizerEntry {
    name: "Adamax",
    meaning: "Adam with the largest gradient in place of the mean of squares (Kingma & Ba 2015)",
    parameters: &[BETAS],
    build: |section| Ok(Box::new(Adamax(Betas::read(section)?))),
};

/// [Kingma & Ba 2015](https://arxiv.org/abs/1412.6980), `torch.optim.Adamax`.
#[derive(Debug)]
struct Adamax(Betas);

impl Algorithm for Adamax {
    fn momentum(&self) -> Option<f64> {
        Some(self.0.0)
    }

    fn begin(
        &self,
        parameter: &Tensor,
        _: &Rates,
    ) -> Result<Vec<(&'static str, Tensor)>, TchError> {
        Ok(vec![("exp_avg", parameter.f_zeros_like()?), ("exp_inf", parameter.f_zeros_like()?)])
    }

    fn step(&self, update: Update<'_>) -> Result<(), TchError> {
        let (first, second) = self.0.now(&update.rates);
        let rate = update.rates.learning_rate / (1.0 - first.powf(step_number(&update)?));
        each(&update, |parameter, gradient, kept| {
            decay_towards(&mut kept[0], gradient, first)?;
            let size = gradient.f_abs()?.f_add_scalar(EPSILON)?;
            let largest = kept[1].f_mul_scalar(second)?.f_maximum(&size)?;
            kept[1].f_copy_(&largest)?;
            subtract_quotient(parameter, rate, &kept[0], &largest)
        })
    }

    fn settings(&self, rates: &Rates, weight_decay: f64) -> Settings {
        with_switches(self.0.settings(rates, weight_decay), rates)
    }

    fn saved_momentum(&self, settings: &Settings) -> Option<f64> {
        Betas::saved(settings)
    }

    fn knows(&self, name: &str) -> bool {
        ["exp_avg", "exp_inf"].contains(&name)
    }
}
