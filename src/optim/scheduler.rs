//! What all learning-rate schedulers have in common.
//!
//! Each is stepped once per validation. They are written as the recursive forms of
//! `torch.optim.lr_scheduler` are, not as closed formulas, so that a learning rate
//! that was changed in between goes on from where it is.

use std::fmt;

use crate::config::{ConfigError, Dialect, Dialects, Entry, Node, Parameter, Section};

use super::optimizer::OptimizerSpec;
use super::schedulers::{SCHEDULERS, plateau};
use super::state::{Rates, Settings};

/// Makes a scheduler for an optimizer with these rates.
pub type BuildSchedule = fn(&Section<'_>, &Rates) -> Result<Box<dyn Schedule>, ConfigError>;

/// One scheduler: its name, its keys and how to make it.
pub struct SchedulerEntry {
    pub name: &'static str,
    pub meaning: &'static str,
    pub parameters: &'static [Parameter],
    pub build: BuildSchedule,
}

impl Entry for SchedulerEntry {
    fn name(&self) -> &'static str {
        self.name
    }

    fn meaning(&self) -> &'static str {
        self.meaning
    }

    fn parameters(&self) -> &'static [Parameter] {
        self.parameters
    }
}

/// How a scheduler changes the rates of an optimizer.
pub trait Schedule: fmt::Debug + Send {
    /// Sets the rates for the start, as torch does when it makes the scheduler.
    fn start(&self, _rates: &mut Rates) {}

    /// Step number `step`, counted from 1, after a validation with `score`.
    fn step(&mut self, step: i64, score: f64, rates: &mut Rates);

    /// Whether steps change the momentum too.
    fn cycles_momentum(&self) -> bool {
        false
    }

    /// What it remembers from step to step.
    fn state(&self) -> Settings {
        Settings::default()
    }

    /// Takes over a saved state; `None` if a value is missing, and then nothing is
    /// changed.
    fn restore(&mut self, _state: &Settings) -> Option<()> {
        Some(())
    }
}

/// A scheduler with its state.
#[derive(Debug)]
pub struct Scheduler {
    /// Name of the scheduler.
    pub name: &'static str,
    schedule: Box<dyn Schedule>,
    steps: i64,
}

/// Makes a schedule, with its name.
type DefaultSchedule = fn() -> (&'static str, Box<dyn Schedule>);

/// Name and schedule of a configuration that names none.
static DEFAULTS: Dialects<DefaultSchedule> = Dialects {
    fork: || (plateau::ENTRY.name, plateau::default()),
    upstream: || ("none", Box::new(Constant)),
};

/// The learning rate stays as it is.
#[derive(Debug)]
struct Constant;

impl Schedule for Constant {
    fn step(&mut self, _: i64, _: f64, _: &mut Rates) {}
}

impl Scheduler {
    /// Reads the `lr_scheduler` section and sets the optimizer's rates for the start.
    /// Without a section: the fork's [`Scheduler::of_silence`].
    pub fn read(node: Option<&Node>, optimizer: &mut OptimizerSpec) -> Result<Self, ConfigError> {
        let (name, schedule) = match node {
            Some(node) => {
                let (entry, section) = SCHEDULERS.open(node)?;
                (entry.name, (entry.build)(&section, &optimizer.rates)?)
            }
            None => return Ok(Self::of_silence(Dialect::Fork)),
        };
        schedule.start(&mut optimizer.rates);
        Ok(Scheduler { name, schedule, steps: 0 })
    }

    /// The scheduler of a configuration that names none: in the fork
    /// ReduceLROnPlateau(max, factor 0.5, patience 20), upstream one that changes nothing.
    pub fn of_silence(dialect: Dialect) -> Self {
        let (name, schedule) = DEFAULTS.of(dialect)();
        Scheduler { name, schedule, steps: 0 }
    }

    /// One step after a validation with `score`.
    pub fn step(&mut self, score: f64, rates: &mut Rates) {
        self.steps += 1;
        self.schedule.step(self.steps, score, rates);
    }

    /// Whether steps change the optimizer's momentum too.
    pub fn cycles_momentum(&self) -> bool {
        self.schedule.cycles_momentum()
    }

    /// Number of steps done and everything else that is remembered.
    pub fn state(&self) -> Settings {
        let steps = Settings::default().with("steps", self.steps);
        self.schedule
            .state()
            .iter()
            .fold(steps, |settings, (name, value)| settings.with(name, value))
    }

    /// Takes over a saved state of the same scheduler; `None` if a value is missing,
    /// and then nothing is changed.
    pub fn restore(&mut self, state: &Settings) -> Option<()> {
        let steps = state.integer("steps")?;
        self.schedule.restore(state)?;
        self.steps = steps;
        Some(())
    }
}
