//! Begins with a part of the learning rate.

use crate::config::Parameter;

use super::super::scheduler::{Schedule, SchedulerEntry};
use super::super::state::Rates;
use super::{LAST_EPOCH, TOTAL_ITERS};

pub static ENTRY: SchedulerEntry = SchedulerEntry {
    name: "ConstantLR",
    meaning: "multiplies the learning rate by `factor` for the first `total_iters` validations",
    parameters: &[
        Parameter::number("factor", 1.0 / 3.0, "factor on the learning rate").within(1e-12, 1.0),
        TOTAL_ITERS,
        LAST_EPOCH,
    ],
    build: |section, _| {
        let (factor, total) = (section.number("factor"), section.integer("total_iters"));
        Ok(Box::new(HeldRate { factor, total }))
    },
};

/// `torch.optim.lr_scheduler.ConstantLR`.
#[derive(Debug)]
struct HeldRate {
    factor: f64,
    total: i64,
}

impl Schedule for HeldRate {
    fn start(&self, rates: &mut Rates) {
        rates.learning_rate *= self.factor;
    }

    fn step(&mut self, step: i64, _: f64, rates: &mut Rates) {
        if step == self.total {
            rates.learning_rate /= self.factor;
        }
    }
}
