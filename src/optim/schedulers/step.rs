//! Lowers the learning rate every so many validations.

use crate::config::Parameter;

use super::super::scheduler::{Schedule, SchedulerEntry};
use super::super::state::Rates;
use super::{GAMMA, LAST_EPOCH};

pub static ENTRY: SchedulerEntry = SchedulerEntry {
    name: "StepLR",
    meaning: "multiplies the learning rate every `step_size` validations",
    parameters: &[
        Parameter::integer("step_size", 1, "validations between multiplications")
            .at_least(1.0)
            .required(),
        GAMMA,
        LAST_EPOCH,
    ],
    build: |section, _| {
        let (size, gamma) = (section.integer("step_size"), section.number("gamma"));
        Ok(Box::new(EveryFewValidations { size, gamma }))
    },
};

/// `torch.optim.lr_scheduler.StepLR`.
#[derive(Debug)]
struct EveryFewValidations {
    size: i64,
    gamma: f64,
}

impl Schedule for EveryFewValidations {
    fn step(&mut self, step: i64, _: f64, rates: &mut Rates) {
        if step % self.size == 0 {
            rates.learning_rate *= self.gamma;
        }
    }
}
