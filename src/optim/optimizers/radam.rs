//! Adam that takes the variance of its own steps into account.

use tch::TchError;

use super::super::optimizer::{OptimizerEntry, Update};
use super::super::state::{Rates, Settings};
use super::moments::{BETAS, EPSILON, MomentRule, with_moments, with_switches};
use super::per_tensor::{decay_towards, each, step_number};

pub static ENTRY: OptimizerEntry = OptimizerEntry {
    name: "RAdam",
    meaning: "Adam that takes the variance of its first steps into account (Liu et al. 2020)",
    parameters: &[BETAS],
    build: |section| with_moments(section, RAdam),
};

/// [Liu et al. 2020](https://arxiv.org/abs/1908.03265), `torch.optim.RAdam`.
#[derive(Debug)]
struct RAdam;

impl RAdam {
    /// The rectification of step `t`; `None` while the variance is intractable.
    fn rectification(second: f64, t: f64) -> Option<f64> {
        let longest = 2.0 / (1.0 - second) - 1.0;
        let power = second.powf(t);
        let length = longest - 2.0 * t * power / (1.0 - power);
        (length > 5.0).then(|| {
            ((length - 4.0) * (length - 2.0) * longest
                / ((longest - 4.0) * (longest - 2.0) * length))
                .sqrt()
        })
    }
}

impl MomentRule for RAdam {
    fn step(&self, (first, second): (f64, f64), update: Update<'_>) -> Result<(), TchError> {
        let t = step_number(&update)?;
        let rate = update.rates.learning_rate / (1.0 - first.powf(t));
        let rectified = Self::rectification(second, t);
        let spread = (1.0 - second.powf(t)).sqrt();
        each(&update, |parameter, gradient, kept| {
            decay_towards(&mut kept[0], gradient, first)?;
            decay_towards(&mut kept[1], &gradient.f_square()?, second)?;
            let change = match rectified {
                Some(factor) => kept[0]
                    .f_div(&kept[1].f_sqrt()?.f_add_scalar(EPSILON)?)?
                    .f_mul_scalar(rate * factor * spread)?,
                None => kept[0].f_mul_scalar(rate)?,
            };
            let _ = parameter.f_sub_(&change)?;
            Ok(())
        })
    }

    fn settings(&self, begun: Settings, rates: &Rates) -> Settings {
        with_switches(begun, rates).with("decoupled_weight_decay", false)
    }
}
