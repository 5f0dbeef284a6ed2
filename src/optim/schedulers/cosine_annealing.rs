//! Lowers and raises the learning rate along a cosine.

use std::f64::consts::PI;

use crate::config::Parameter;

use super::super::scheduler::{Schedule, SchedulerEntry};
use super::super::state::Rates;
use super::{ETA_MIN, LAST_EPOCH};

pub static ENTRY: SchedulerEntry = SchedulerEntry {
    name: "CosineAnnealingLR",
    meaning: "lowers and raises the learning rate along a cosine (Loshchilov & Hutter 2017)",
    parameters: &[
        Parameter::integer("T_max", 1, "validations from the highest to the lowest rate")
            .at_least(1.0)
            .required(),
        ETA_MIN,
        LAST_EPOCH,
    ],
    build: |section, _| {
        let (t_max, eta_min) = (section.integer("T_max"), section.number("eta_min"));
        Ok(Box::new(CosineAnnealing { t_max, eta_min }))
    },
};

/// `torch.optim.lr_scheduler.CosineAnnealingLR`.
#[derive(Debug)]
struct CosineAnnealing {
    t_max: i64,
    eta_min: f64,
}

impl Schedule for CosineAnnealing {
    fn step(&mut self, step: i64, _: f64, rates: &mut Rates) {
        let CosineAnnealing { t_max, eta_min } = *self;
        let t = t_max as f64;
        let angle = |step: i64| (1.0 + (PI * step as f64 / t).cos()) / 2.0;
        let lr = &mut rates.learning_rate;
        if (step - 1 - t_max) % (2 * t_max) == 0 {
            *lr += (rates.initial - eta_min) * (1.0 - (PI / t).cos()) / 2.0;
        } else {
            *lr = angle(step) / angle(step - 1) * (*lr - eta_min) + eta_min;
        }
    }
}
