//! Lowers the learning rate at every validation.

use crate::config::Parameter;

use super::super::scheduler::{Schedule, SchedulerEntry};
use super::super::state::Rates;
use super::LAST_EPOCH;

pub static ENTRY: SchedulerEntry = SchedulerEntry {
    name: "ExponentialLR",
    meaning: "multiplies the learning rate at every validation",
    parameters: &[
        Parameter::number("gamma", 1.0, "factor at every validation").required(),
        LAST_EPOCH,
    ],
    build: |section, _| Ok(Box::new(Exponential { gamma: section.number("gamma") })),
};

/// `torch.optim.lr_scheduler.ExponentialLR`.
#[derive(Debug)]
struct Exponential {
    gamma: f64,
}

impl Schedule for Exponential {
    fn step(&mut self, _: i64, _: f64, rates: &mut Rates) {
        rates.learning_rate *= self.gamma;
    }
}
