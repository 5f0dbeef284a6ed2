//! Raises and lowers the learning rate again and again, with the momentum the other way.

use crate::config::{ConfigError, Parameter, Section};

use super::super::scheduler::{Schedule, SchedulerEntry};
use super::super::state::Rates;
use super::LAST_EPOCH;

pub static ENTRY: SchedulerEntry = SchedulerEntry {
    name: "CyclicLR",
    meaning: "raises and lowers the learning rate again and again, with the momentum the other way \
              (Smith 2017)",
    parameters: &[
        Parameter::number("base_lr", 0.0, "lowest learning rate").at_least(0.0).required(),
        Parameter::number("max_lr", 0.0, "highest learning rate").at_least(0.0).required(),
        Parameter::integer("step_size_up", 2000, "validations of a rise").at_least(1.0),
        Parameter::integer(
            "step_size_down",
            2000,
            "validations of a fall; `step_size_up` if absent",
        )
        .at_least(1.0)
        .optional(),
        Parameter::choice(
            "mode",
            "triangular",
            &["triangular", "triangular2", "exp_range"],
            "all cycles alike, each half as high as the one before, or falling with `gamma`",
        ),
        Parameter::number("gamma", 1.0, "factor on the height at every validation (`exp_range`)"),
        Parameter::flag(
            "cycle_momentum",
            true,
            "cycle the optimizer's momentum (SGD) or first beta (Adam) too",
        ),
        Parameter::probability("base_momentum", 0.8, "lowest momentum"),
        Parameter::probability("max_momentum", 0.9, "highest momentum"),
        LAST_EPOCH,
    ],
    build: |section, rates| Ok(Box::new(Cyclic::read(section, rates)?)),
};

/// How the height of cycles changes.
#[derive(Clone, Copy, Debug)]
enum CycleHeight {
    Same,
    Halved,
    Power(f64),
}

/// `torch.optim.lr_scheduler.CyclicLR`.
#[derive(Debug)]
struct Cyclic {
    /// Lowest and highest learning rate.
    rates: [f64; 2],
    /// Lowest and highest momentum; `None` if it is not cycled.
    momenta: Option<[f64; 2]>,
    up: f64,
    down: f64,
    height: CycleHeight,
}

impl Cyclic {
    fn read(section: &Section<'_>, rates: &Rates) -> Result<Self, ConfigError> {
        let cycles = section.flag("cycle_momentum");
        if cycles && rates.momentum.is_none() {
            return Err(section.error(
                "cycle_momentum",
                "the optimizer has no momentum to cycle; set `cycle_momentum: false`",
            ));
        }
        let up = section.integer("step_size_up");
        Ok(Cyclic {
            rates: [section.number("base_lr"), section.number("max_lr")],
            momenta: cycles
                .then(|| [section.number("base_momentum"), section.number("max_momentum")]),
            up: up as f64,
            down: section.maybe_integer("step_size_down").unwrap_or(up) as f64,
            height: match section.text("mode") {
                "triangular2" => CycleHeight::Halved,
                "exp_range" => CycleHeight::Power(section.number("gamma")),
                _ => CycleHeight::Same,
            },
        })
    }

    /// Sets the rates for step `step`, counted from 0.
    fn apply(&self, step: i64, rates: &mut Rates) {
        let (step, length) = (step as f64, self.up + self.down);
        let cycle = (1.0 + step / length).floor();
        let place = 1.0 + step / length - cycle;
        let rise = self.up / length;
        let share = if place <= rise { place / rise } else { (place - 1.0) / (rise - 1.0) };
        let height = share
            * match self.height {
                CycleHeight::Same => 1.0,
                CycleHeight::Halved => 0.5f64.powf(cycle - 1.0),
                CycleHeight::Power(gamma) => gamma.powf(step),
            };
        let [low, high] = self.rates;
        rates.learning_rate = low + (high - low) * height;
        if let Some([low, high]) = self.momenta {
            rates.momentum = Some(high - (high - low) * height);
        }
    }
}

impl Schedule for Cyclic {
    fn start(&self, rates: &mut Rates) {
        self.apply(0, rates);
    }

    fn step(&mut self, step: i64, _: f64, rates: &mut Rates) {
        self.apply(step, rates);
    }

    fn cycles_momentum(&self) -> bool {
        self.momenta.is_some()
    }
}
