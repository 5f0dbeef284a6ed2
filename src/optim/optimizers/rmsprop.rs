//! RMSprop.

use tch::{TchError, Tensor};

use super::super::optimizer::{Algorithm, OptimizerEntry, Update};
use super::super::state::{Rates, Settings};
use super::moments::{EPSILON, with_switches};
use super::per_tensor::{decay_towards, each, subtract_quotient};
use crate::config::Parameter;

pub static ENTRY: OptimizerEntry = OptimizerEntry {
    name: "RMSprop",
    meaning: "steps scaled by the running mean of the gradient's square (Hinton 2012)",
    parameters: &[Parameter::probability("alpha", 0.99, "decay of the running mean")],
    build: |section| Ok(Box::new(RmsProp { alpha: section.number("alpha") })),
};

/// `torch.optim.RMSprop`, neither centred nor with momentum.
#[derive(Debug)]
struct RmsProp {
    alpha: f64,
}

impl Algorithm for RmsProp {
    fn momentum(&self) -> Option<f64> {
        None
    }

    fn begin(
        &self,
        parameter: &Tensor,
        _: &Rates,
    ) -> Result<Vec<(&'static str, Tensor)>, TchError> {
        Ok(vec![("square_avg", parameter.f_zeros_like()?)])
    }

    fn step(&self, update: Update<'_>) -> Result<(), TchError> {
        let rate = update.rates.learning_rate;
        each(&update, |parameter, gradient, kept| {
            decay_towards(&mut kept[0], &gradient.f_square()?, self.alpha)?;
            let size = kept[0].f_sqrt()?.f_add_scalar(EPSILON)?;
            subtract_quotient(parameter, rate, gradient, &size)
        })
    }

    fn settings(&self, rates: &Rates, weight_decay: f64) -> Settings {
        let settings = Settings::default()
            .with("lr", rates.learning_rate)
            .with("momentum", 0)
            .with("alpha", self.alpha)
            .with("eps", EPSILON)
            .with("centered", false)
            .with("weight_decay", weight_decay);
        with_switches(settings, rates)
    }

    fn saved_momentum(&self, _: &Settings) -> Option<f64> {
        None
    }

    fn knows(&self, name: &str) -> bool {
        name == "square_avg"
    }
}
