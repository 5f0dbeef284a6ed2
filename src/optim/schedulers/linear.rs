//! Raises or lowers the learning rate along a line.

use crate::config::Parameter;

use super::super::scheduler::{Schedule, SchedulerEntry};
use super::super::state::Rates;
use super::{LAST_EPOCH, TOTAL_ITERS};

pub static ENTRY: SchedulerEntry = SchedulerEntry {
    name: "LinearLR",
    meaning: "moves the factor on the learning rate from `start_factor` to `end_factor` along a line",
    parameters: &[
        Parameter::number("start_factor", 1.0 / 3.0, "factor at the start").within(1e-12, 1.0),
        Parameter::number("end_factor", 1.0, "factor at the end").within(0.0, 1.0),
        TOTAL_ITERS,
        LAST_EPOCH,
    ],
    build: |section, _| {
        Ok(Box::new(Linear {
            start: section.number("start_factor"),
            end: section.number("end_factor"),
            total: section.integer("total_iters"),
        }))
    },
};

/// `torch.optim.lr_scheduler.LinearLR`.
#[derive(Debug)]
struct Linear {
    start: f64,
    end: f64,
    total: i64,
}

impl Schedule for Linear {
    fn start(&self, rates: &mut Rates) {
        rates.learning_rate *= self.start;
    }

    fn step(&mut self, step: i64, _: f64, rates: &mut Rates) {
        if step <= self.total {
            let rise = self.end - self.start;
            let before = self.total as f64 * self.start + (step - 1) as f64 * rise;
            rates.learning_rate *= 1.0 + rise / before;
        }
    }
}
