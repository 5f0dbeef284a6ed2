//! Lowers the learning rate when the score no longer improves.

use crate::config::Parameter;

use super::super::scheduler::{Schedule, SchedulerEntry};
use super::super::state::{Rates, Settings};

pub static ENTRY: SchedulerEntry = SchedulerEntry {
    name: "ReduceLROnPlateau",
    meaning: "multiplies the learning rate when the score no longer improves",
    parameters: &[
        Parameter::choice(
            "mode",
            "min",
            &["min", "max"],
            "whether a smaller or larger score is better",
        ),
        Parameter::number("factor", 0.1, "factor on the learning rate").at_least(0.0),
        Parameter::integer("patience", 10, "validations without improvement before a cut")
            .at_least(0.0),
        Parameter::number("threshold", 1e-4, "what counts as an improvement"),
        Parameter::choice(
            "threshold_mode",
            "rel",
            &["rel", "abs"],
            "relative or absolute threshold",
        ),
        Parameter::integer("cooldown", 0, "validations after a cut that do not count")
            .at_least(0.0),
        Parameter::number("min_lr", 0.0, "lower bound of the learning rate").at_least(0.0),
        Parameter::number("eps", 1e-8, "smaller changes are left undone").at_least(0.0),
    ],
    build: |section, _| {
        if section.number("factor") >= 1.0 {
            return Err(section.error("factor", "must be below 1"));
        }
        Ok(Box::new(Plateau {
            factor: section.number("factor"),
            patience: section.integer("patience"),
            threshold: section.number("threshold"),
            relative: section.text("threshold_mode") == "rel",
            cooldown: section.integer("cooldown"),
            min_lr: section.number("min_lr"),
            eps: section.number("eps"),
            ..Plateau::new(section.text("mode") == "max")
        }))
    },
};

/// The scheduler of a configuration that names none.
pub fn default() -> Box<dyn Schedule> {
    Box::new(Plateau { factor: 0.5, patience: 20, ..Plateau::new(true) })
}

/// `torch.optim.lr_scheduler.ReduceLROnPlateau`.
#[derive(Debug)]
struct Plateau {
    higher_is_better: bool,
    factor: f64,
    patience: i64,
    threshold: f64,
    relative: bool,
    cooldown: i64,
    min_lr: f64,
    eps: f64,
    /// Best score so far.
    best: f64,
    /// Steps since the best score.
    bad_steps: i64,
    /// Steps that still do not count after a cut.
    to_cool_down: i64,
}

impl Plateau {
    /// With torch's defaults, before the first step.
    fn new(higher_is_better: bool) -> Self {
        Plateau {
            higher_is_better,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            relative: true,
            cooldown: 0,
            min_lr: 0.0,
            eps: 1e-8,
            best: if higher_is_better { f64::NEG_INFINITY } else { f64::INFINITY },
            bad_steps: 0,
            to_cool_down: 0,
        }
    }

    fn is_better(&self, score: f64) -> bool {
        let (best, threshold) = (self.best, self.threshold);
        match (self.higher_is_better, self.relative) {
            (false, true) => score < best * (1.0 - threshold),
            (false, false) => score < best - threshold,
            (true, true) => score > best * (threshold + 1.0),
            (true, false) => score > best + threshold,
        }
    }
}

impl Schedule for Plateau {
    fn step(&mut self, _: i64, score: f64, rates: &mut Rates) {
        if self.is_better(score) {
            self.best = score;
            self.bad_steps = 0;
        } else {
            self.bad_steps += 1;
        }
        if self.to_cool_down > 0 {
            self.to_cool_down -= 1;
            self.bad_steps = 0;
        }
        if self.bad_steps > self.patience {
            let lowered = (rates.learning_rate * self.factor).max(self.min_lr);
            if rates.learning_rate - lowered > self.eps {
                rates.learning_rate = lowered;
            }
            self.to_cool_down = self.cooldown;
            self.bad_steps = 0;
        }
    }

    fn state(&self) -> Settings {
        Settings::default()
            .with("best", self.best)
            .with("bad_steps", self.bad_steps)
            .with("cooldown", self.to_cool_down)
    }

    fn restore(&mut self, state: &Settings) -> Option<()> {
        let (best, bad_steps) = (state.number("best")?, state.integer("bad_steps")?);
        self.to_cool_down = state.integer("cooldown")?;
        (self.best, self.bad_steps) = (best, bad_steps);
        Some(())
    }
}
