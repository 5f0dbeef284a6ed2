//! Resilient propagation.

use tch::{TchError, Tensor};

use super::super::optimizer::{Algorithm, OptimizerEntry, Update};
use super::super::state::{Rates, Settings};
use super::moments::with_switches;
use super::per_tensor::each;
use crate::config::{Parameter, Section};

pub static ENTRY: OptimizerEntry = OptimizerEntry {
    name: "Rprop",
    meaning: "steps by the sign of the gradient, of a size that grows and shrinks by itself \
              (Riedmiller & Braun 1993); it knows no weight decay",
    parameters: &[
        Parameter::numbers(
            "etas",
            &[0.5, 1.2],
            "factors of the step where the sign changes and \
                                                 where it stays",
        )
        .at_least(0.0)
        .of_length(2),
        Parameter::numbers("step_sizes", &[1e-6, 50.0], "smallest and largest step")
            .at_least(0.0)
            .of_length(2),
    ],
    build: |section| {
        if let Some(key) = section.child("weight_decay") {
            key.warn("is ignored: Rprop knows no weight decay");
        }
        let pair = |section: &Section<'_>, key: &str| {
            let values = section.numbers(key);
            (values[0], values[1])
        };
        Ok(Box::new(Rprop { etas: pair(section, "etas"), sizes: pair(section, "step_sizes") }))
    },
};

/// [Riedmiller & Braun 1993](https://doi.org/10.1109/ICNN.1993.298623),
/// `torch.optim.Rprop`.
#[derive(Debug)]
struct Rprop {
    etas: (f64, f64),
    sizes: (f64, f64),
}

impl Algorithm for Rprop {
    fn momentum(&self) -> Option<f64> {
        None
    }

    fn begin(
        &self,
        parameter: &Tensor,
        rates: &Rates,
    ) -> Result<Vec<(&'static str, Tensor)>, TchError> {
        Ok(vec![
            ("prev", parameter.f_zeros_like()?),
            ("step_size", parameter.f_full_like(rates.learning_rate)?),
        ])
    }

    fn step(&self, update: Update<'_>) -> Result<(), TchError> {
        each(&Update { weight_decay: 0.0, ..update }, |parameter, gradient, kept| {
            let agreement = gradient.f_mul(&kept[0])?;
            let (stays, changes) = (agreement.f_gt(0.0)?, agreement.f_lt(0.0)?);
            let factor = gradient
                .f_ones_like()?
                .f_masked_fill(&stays, self.etas.1)?
                .f_masked_fill(&changes, self.etas.0)?;
            let size = kept[1].f_mul(&factor)?.f_clamp(self.sizes.0, self.sizes.1)?;
            kept[1].f_copy_(&size)?;
            let gradient = gradient.f_masked_fill(&changes, 0.0)?;
            let _ = parameter.f_sub_(&gradient.f_sign()?.f_mul(&size)?)?;
            kept[0].f_copy_(&gradient)?;
            Ok(())
        })
    }

    fn settings(&self, rates: &Rates, _: f64) -> Settings {
        let settings = Settings::default()
            .with("lr", rates.learning_rate)
            .with("etas", self.etas)
            .with("step_sizes", self.sizes);
        with_switches(settings, rates)
    }

    fn saved_momentum(&self, _: &Settings) -> Option<f64> {
        None
    }

    fn knows(&self, name: &str) -> bool {
        ["prev", "step_size"].contains(&name)
    }
}
