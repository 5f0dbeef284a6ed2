//! Adam with Nesterov's momentum.

use tch::{Kind, TchError, Tensor};

use super::super::optimizer::{Algorithm, OptimizerEntry, Update};
use super::super::state::{Rates, Settings};
use super::moments::{BETAS, Betas, EPSILON, with_switches};
use super::per_tensor::{decay_towards, each, step_number, subtract_quotient};
use crate::config::Parameter;

pub static ENTRY: OptimizerEntry = OptimizerEntry {
    name: "NAdam",
    meaning: "Adam with Nesterov's momentum (Dozat 2016)",
    parameters: &[
        BETAS,
        Parameter::number("momentum_decay", 4e-3, "how fast the momentum grows").at_least(0.0),
    ],
    build: |section| {
        let (betas, decay) = (Betas::read(section)?, section.number("momentum_decay"));
        Ok(Box::new(NAdam { betas, decay }))
    },
};

/// [Dozat 2016](https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ),
/// `torch.optim.NAdam`.
#[derive(Debug)]
struct NAdam {
    betas: Betas,
    decay: f64,
}

impl NAdam {
    /// The momentum of step `t`.
    fn momentum_at(&self, first: f64, t: f64) -> f64 {
        first * (1.0 - 0.5 * 0.96f64.powf(t * self.decay))
    }
}

impl Algorithm for NAdam {
    fn momentum(&self) -> Option<f64> {
        Some(self.betas.0)
    }

    fn begin(
        &self,
        parameter: &Tensor,
        _: &Rates,
    ) -> Result<Vec<(&'static str, Tensor)>, TchError> {
        let product = Tensor::f_ones([0i64; 0], (Kind::Float, parameter.device()))?;
        Ok(vec![
            ("mu_product", product),
            ("exp_avg", parameter.f_zeros_like()?),
            ("exp_avg_sq", parameter.f_zeros_like()?),
        ])
    }

    fn step(&self, update: Update<'_>) -> Result<(), TchError> {
        let (first, second) = self.betas.now(&update.rates);
        let t = step_number(&update)?;
        let (now, next) = (self.momentum_at(first, t), self.momentum_at(first, t + 1.0));
        let rate = update.rates.learning_rate;
        let correction = 1.0 - second.powf(t);
        each(&update, |parameter, gradient, kept| {
            let _ = kept[0].f_mul_scalar_(now)?;
            let product = kept[0].f_double_value(&[])?;
            decay_towards(&mut kept[1], gradient, first)?;
            decay_towards(&mut kept[2], &gradient.f_square()?, second)?;
            let size = kept[2].f_div_scalar(correction)?.f_sqrt()?.f_add_scalar(EPSILON)?;
            let of_gradient = rate * (1.0 - now) / (1.0 - product);
            subtract_quotient(parameter, of_gradient, gradient, &size)?;
            let of_average = rate * next / (1.0 - product * next);
            subtract_quotient(parameter, of_average, &kept[1], &size)
        })
    }

    fn settings(&self, rates: &Rates, weight_decay: f64) -> Settings {
        let settings = self.betas.settings(rates, weight_decay).with("momentum_decay", self.decay);
        with_switches(settings, rates).with("decoupled_weight_decay", false)
    }

    fn saved_momentum(&self, settings: &Settings) -> Option<f64> {
        Betas::saved(settings)
    }

    fn knows(&self, name: &str) -> bool {
        ["mu_product", "exp_avg", "exp_avg_sq"].contains(&name)
    }
}
