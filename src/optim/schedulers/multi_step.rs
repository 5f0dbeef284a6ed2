//! Lowers the learning rate at given validations.

use crate::config::Parameter;

use super::super::scheduler::{Schedule, SchedulerEntry};
use super::super::state::Rates;
use super::{GAMMA, LAST_EPOCH};

pub static ENTRY: SchedulerEntry = SchedulerEntry {
    name: "MultiStepLR",
    meaning: "multiplies the learning rate at given validations",
    parameters: &[
        Parameter::integers("milestones", &[], "validations at which to multiply").required(),
        GAMMA,
        LAST_EPOCH,
    ],
    build: |section, _| {
        let (milestones, gamma) = (section.integers("milestones"), section.number("gamma"));
        Ok(Box::new(MultiStep { milestones, gamma }))
    },
};

/// `torch.optim.lr_scheduler.MultiStepLR`.
#[derive(Debug)]
struct MultiStep {
    milestones: Vec<i64>,
    gamma: f64,
}

impl MultiStep {
    /// A milestone that stands in the list twice multiplies twice.
    fn factor(&self, step: i64) -> f64 {
        let hits = self.milestones.iter().filter(|milestone| **milestone == step).count();
        self.gamma.powi(hits as i32)
    }
}

impl Schedule for MultiStep {
    fn start(&self, rates: &mut Rates) {
        rates.learning_rate *= self.factor(0);
    }

    fn step(&mut self, step: i64, _: f64, rates: &mut Rates) {
        rates.learning_rate *= self.factor(step);
    }
}
