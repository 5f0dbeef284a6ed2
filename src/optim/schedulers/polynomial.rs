//! Lowers the learning rate to 0 along a polynomial.

use crate::config::Parameter;

use super::super::scheduler::{Schedule, SchedulerEntry};
use super::super::state::Rates;
use super::{LAST_EPOCH, TOTAL_ITERS};

pub static ENTRY: SchedulerEntry = SchedulerEntry {
    name: "PolynomialLR",
    meaning: "lowers the learning rate to 0 along a polynomial",
    parameters: &[
        TOTAL_ITERS,
        Parameter::number("power", 1.0, "power of the polynomial").at_least(0.0),
        LAST_EPOCH,
    ],
    build: |section, _| {
        let (total, power) = (section.integer("total_iters"), section.number("power"));
        Ok(Box::new(Polynomial { total, power }))
    },
};

/// `torch.optim.lr_scheduler.PolynomialLR`.
#[derive(Debug)]
struct Polynomial {
    total: i64,
    power: f64,
}

impl Schedule for Polynomial {
    fn step(&mut self, step: i64, _: f64, rates: &mut Rates) {
        if step <= self.total {
            let left = |step: i64| 1.0 - step as f64 / self.total as f64;
            rates.learning_rate *= (left(step) / left(step - 1)).powf(self.power);
        }
    }
}
