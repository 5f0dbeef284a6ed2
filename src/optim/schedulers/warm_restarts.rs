//! Lowers the learning rate along a cosine and starts again, with longer periods.

use std::f64::consts::PI;

use crate::config::Parameter;

use super::super::scheduler::{Schedule, SchedulerEntry};
use super::super::state::{Rates, Settings};
use super::{ETA_MIN, LAST_EPOCH};

pub static ENTRY: SchedulerEntry = SchedulerEntry {
    name: "CosineAnnealingWarmRestarts",
    meaning: "lowers the learning rate along a cosine and starts again at the top \
              (Loshchilov & Hutter 2017)",
    parameters: &[
        Parameter::integer("T_0", 1, "validations of the first period").at_least(1.0).required(),
        Parameter::integer("T_mult", 1, "factor on the period after each restart").at_least(1.0),
        ETA_MIN,
        LAST_EPOCH,
    ],
    build: |section, _| {
        Ok(Box::new(WarmRestarts {
            t_mult: section.integer("T_mult"),
            eta_min: section.number("eta_min"),
            position: 0,
            period: section.integer("T_0"),
        }))
    },
};

/// `torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`.
#[derive(Debug)]
struct WarmRestarts {
    t_mult: i64,
    eta_min: f64,
    /// Validations since the last restart.
    position: i64,
    /// Validations of the present period.
    period: i64,
}

impl Schedule for WarmRestarts {
    fn step(&mut self, _: i64, _: f64, rates: &mut Rates) {
        self.position += 1;
        if self.position >= self.period {
            self.position -= self.period;
            self.period *= self.t_mult;
        }
        let phase = PI * self.position as f64 / self.period as f64;
        rates.learning_rate =
            self.eta_min + (rates.initial - self.eta_min) * (1.0 + phase.cos()) / 2.0;
    }

    fn state(&self) -> Settings {
        Settings::default().with("t_cur", self.position).with("t_i", self.period)
    }

    fn restore(&mut self, state: &Settings) -> Option<()> {
        let period = state.integer("t_i")?;
        self.position = state.integer("t_cur")?;
        self.period = period;
        Some(())
    }
}
