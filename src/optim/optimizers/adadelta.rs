//! Adadelta.

use tch::{TchError, Tensor};

use super::super::optimizer::{Algorithm, OptimizerEntry, Update};
use super::super::state::{Rates, Settings};
use super::moments::with_switches;
use super::per_tensor::{decay_towards, each};
use crate::config::Parameter;

pub static ENTRY: OptimizerEntry = OptimizerEntry {
    name: "Adadelta",
    meaning: "steps scaled by running means of their own squares (Zeiler 2012)",
    parameters: &[Parameter::probability("rho", 0.9, "decay of the running means")],
    build: |section| Ok(Box::new(Adadelta { rho: section.number("rho") })),
};

/// torch's default.
const EPSILON: f64 = 1e-6;

/// [Zeiler 2012](https://arxiv.org/abs/1212.5701), `torch.optim.Adadelta`.
#[derive(Debug)]
struct Adadelta {
    rho: f64,
}

impl Algorithm for Adadelta {
    fn momentum(&self) -> Option<f64> {
        None
    }

    fn begin(
        &self,
        parameter: &Tensor,
        _: &Rates,
    ) -> Result<Vec<(&'static str, Tensor)>, TchError> {
        Ok(vec![
            ("square_avg", parameter.f_zeros_like()?),
            ("acc_delta", parameter.f_zeros_like()?),
        ])
    }

    fn step(&self, update: Update<'_>) -> Result<(), TchError> {
        let rate = update.rates.learning_rate;
        each(&update, |parameter, gradient, kept| {
            decay_towards(&mut kept[0], &gradient.f_square()?, self.rho)?;
            let size = kept[0].f_add_scalar(EPSILON)?.f_sqrt()?;
            let delta = kept[1].f_add_scalar(EPSILON)?.f_sqrt()?.f_div(&size)?.f_mul(gradient)?;
            decay_towards(&mut kept[1], &delta.f_square()?, self.rho)?;
            let _ = parameter.f_sub_(&delta.f_mul_scalar(rate)?)?;
            Ok(())
        })
    }

    fn settings(&self, rates: &Rates, weight_decay: f64) -> Settings {
        let settings = Settings::default()
            .with("lr", rates.learning_rate)
            .with("rho", self.rho)
            .with("eps", EPSILON)
            .with("weight_decay", weight_decay);
        with_switches(settings, rates)
    }

    fn saved_momentum(&self, _: &Settings) -> Option<f64> {
        None
    }

    fn knows(&self, name: &str) -> bool {
        ["square_avg", "acc_delta"].contains(&name)
    }
}
