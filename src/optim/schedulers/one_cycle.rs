//! One rise and one fall of the learning rate, with the momentum the other way.

use std::f64::consts::PI;

use crate::config::{ConfigError, Parameter, Section};

use super::super::scheduler::{Schedule, SchedulerEntry};
use super::super::state::Rates;
use super::LAST_EPOCH;

pub static ENTRY: SchedulerEntry = SchedulerEntry {
    name: "OneCycleLR",
    meaning: "one rise and one fall of the learning rate, with the momentum the other way \
              (Smith & Topin 2018)",
    parameters: &[
        Parameter::number("max_lr", 0.0, "highest learning rate").at_least(0.0).required(),
        Parameter::integer("total_steps", 1, "validations of the cycle").at_least(1.0).optional(),
        Parameter::integer("epochs", 1, "with steps_per_epoch in place of total_steps")
            .at_least(1.0)
            .optional(),
        Parameter::integer("steps_per_epoch", 1, "with epochs in place of total_steps")
            .at_least(1.0)
            .optional(),
        Parameter::probability("pct_start", 0.3, "share of the cycle with a rising rate"),
        Parameter::choice("anneal_strategy", "cos", &["cos", "linear"], "shape of the slopes"),
        Parameter::flag(
            "cycle_momentum",
            true,
            "cycle the optimizer's momentum (SGD) or first beta (Adam) too",
        ),
        Parameter::probability("base_momentum", 0.85, "lowest momentum"),
        Parameter::probability("max_momentum", 0.95, "highest momentum"),
        Parameter::number("div_factor", 25.0, "max_lr over the initial rate"),
        Parameter::number("final_div_factor", 1e4, "initial over final rate"),
        Parameter::flag("three_phase", false, "fall back in the time of the rise, then anneal"),
        LAST_EPOCH,
    ],
    build: |section, rates| Ok(Box::new(OneCycle::read(section, rates)?)),
};

/// `torch.optim.lr_scheduler.OneCycleLR`.
#[derive(Debug)]
struct OneCycle {
    total_steps: i64,
    initial_lr: f64,
    max_lr: f64,
    min_lr: f64,
    pct_start: f64,
    cosine: bool,
    cycle_momentum: bool,
    base_momentum: f64,
    max_momentum: f64,
    three_phase: bool,
}

impl OneCycle {
    fn read(section: &Section<'_>, rates: &Rates) -> Result<Self, ConfigError> {
        let product = section
            .maybe_integer("epochs")
            .zip(section.maybe_integer("steps_per_epoch"))
            .and_then(|(epochs, steps)| epochs.checked_mul(steps));
        let total_steps = section.maybe_integer("total_steps").or(product).ok_or_else(|| {
            section.error("total_steps", "give total_steps, or epochs and steps_per_epoch")
        })?;
        if section.flag("cycle_momentum") && rates.momentum.is_none() {
            return Err(section.error(
                "cycle_momentum",
                "the optimizer has no momentum to cycle; set `cycle_momentum: false`",
            ));
        }
        let max_lr = section.number("max_lr");
        let initial_lr = max_lr / section.number("div_factor");
        Ok(OneCycle {
            total_steps,
            initial_lr,
            max_lr,
            min_lr: initial_lr / section.number("final_div_factor"),
            pct_start: section.number("pct_start"),
            cosine: section.text("anneal_strategy") == "cos",
            cycle_momentum: section.flag("cycle_momentum"),
            base_momentum: section.number("base_momentum"),
            max_momentum: section.number("max_momentum"),
            three_phase: section.flag("three_phase"),
        })
    }

    /// Sets the rates for step `step`, counted from 0. After the cycle, where torch
    /// raises an error, they stay as they are.
    fn apply(&self, step: i64, rates: &mut Rates) {
        if step >= self.total_steps {
            return;
        }
        let total = self.total_steps as f64;
        let (initial, max, min) = (self.initial_lr, self.max_lr, self.min_lr);
        let (low, high) = (self.base_momentum, self.max_momentum);
        let rise = self.pct_start * total - 1.0;
        // The last step of each phase, its first and last rate and momentum.
        let phases = if self.three_phase {
            vec![
                (rise, initial, max, high, low),
                (2.0 * self.pct_start * total - 2.0, max, initial, low, high),
                (total - 1.0, initial, min, high, high),
            ]
        } else {
            vec![(rise, initial, max, high, low), (total - 1.0, max, min, low, high)]
        };
        let last = phases.len() - 1;
        let mut start = 0.0;
        for (index, (end, from, to, momentum_from, momentum_to)) in phases.into_iter().enumerate() {
            if step as f64 <= end || index == last {
                let share = (step as f64 - start) / (end - start);
                rates.learning_rate = self.anneal(from, to, share);
                if self.cycle_momentum {
                    rates.momentum = Some(self.anneal(momentum_from, momentum_to, share));
                }
                return;
            }
            start = end;
        }
    }

    fn anneal(&self, from: f64, to: f64, share: f64) -> f64 {
        if self.cosine {
            to + (from - to) / 2.0 * (1.0 + (PI * share).cos())
        } else {
            (to - from) * share + from
        }
    }
}

impl Schedule for OneCycle {
    fn start(&self, rates: &mut Rates) {
        self.apply(0, rates);
    }

    fn step(&mut self, step: i64, _: f64, rates: &mut Rates) {
        self.apply(step, rates);
    }

    fn cycles_momentum(&self) -> bool {
        self.cycle_momentum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Tree;

    #[test]
    fn momentum_is_cycled_only_where_there_is_one() {
        let read = |cycle: bool, momentum: Option<f64>| {
            let yaml = format!(
                "{{name: OneCycleLR, max_lr: 1, total_steps: 10, cycle_momentum: {cycle}}}"
            );
            let tree = Tree::parse(&yaml, "c.yaml", &[]).unwrap();
            let (_, section) = super::super::super::SCHEDULERS.open(&tree.root).unwrap();
            let mut rates = Rates { initial: 0.1, learning_rate: 0.1, momentum };
            let cycle = OneCycle::read(&section, &rates).map_err(|error| error.to_string())?;
            cycle.start(&mut rates);
            Ok::<_, String>(rates.momentum)
        };
        assert!(read(true, None).unwrap_err().contains("set `cycle_momentum: false`"));
        assert_eq!(read(false, None), Ok(None));
        assert_eq!(read(false, Some(0.5)), Ok(Some(0.5)));
        assert_eq!(read(true, Some(0.5)), Ok(Some(0.95)));
    }
}
