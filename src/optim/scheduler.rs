//! Learning-rate schedulers, `torch.optim.lr_scheduler` number for number.
//!
//! Each is stepped once per validation. They are written as torch's recursive
//! forms are, not as closed formulas, so that a learning rate that was changed
//! in between goes on from where it is.

use std::f64::consts::PI;

use crate::config::{ConfigError, Node, Parameter, Section, nearest};

use super::optimizer::{Algorithm, OptimizerSpec};

/// The names that `lr_scheduler.name` may have.
pub const SCHEDULER_NAMES: &[&str] = &[
    "ReduceLROnPlateau",
    "MultiStepLR",
    "StepLR",
    "ExponentialLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "OneCycleLR",
];

const NAME: Parameter = Parameter::text("name", "", "the scheduler, as torch calls it").required();
const GAMMA: Parameter = Parameter::number("gamma", 0.1, "factor on the learning rate");
const LAST_EPOCH: Parameter =
    Parameter::integer("last_epoch", -1, "only −1, the start, is possible").within(-1.0, -1.0);
const VERBOSE: Parameter = Parameter::any("verbose", "accepted, unused");

const PLATEAU: &[Parameter] = &[
    NAME,
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
    Parameter::choice("threshold_mode", "rel", &["rel", "abs"], "relative or absolute threshold"),
    Parameter::integer("cooldown", 0, "validations after a cut that do not count").at_least(0.0),
    Parameter::number("min_lr", 0.0, "lower bound of the learning rate").at_least(0.0),
    Parameter::number("eps", 1e-8, "smaller changes are left undone").at_least(0.0),
    VERBOSE,
];
const MULTI_STEP: &[Parameter] = &[
    NAME,
    Parameter::integers("milestones", &[], "validations at which to multiply").required(),
    GAMMA,
    LAST_EPOCH,
    VERBOSE,
];
const STEP: &[Parameter] = &[
    NAME,
    Parameter::integer("step_size", 1, "validations between multiplications")
        .at_least(1.0)
        .required(),
    GAMMA,
    LAST_EPOCH,
    VERBOSE,
];
const EXPONENTIAL: &[Parameter] = &[
    NAME,
    Parameter::number("gamma", 1.0, "factor at every validation").required(),
    LAST_EPOCH,
    VERBOSE,
];
const COSINE: &[Parameter] = &[
    NAME,
    Parameter::integer("T_max", 1, "validations from the highest to the lowest rate")
        .at_least(1.0)
        .required(),
    Parameter::number("eta_min", 0.0, "lowest learning rate"),
    LAST_EPOCH,
    VERBOSE,
];
const WARM_RESTARTS: &[Parameter] = &[
    NAME,
    Parameter::integer("T_0", 1, "validations of the first period").at_least(1.0).required(),
    Parameter::integer("T_mult", 1, "factor on the period after each restart").at_least(1.0),
    Parameter::number("eta_min", 0.0, "lowest learning rate"),
    LAST_EPOCH,
    VERBOSE,
];
const ONE_CYCLE: &[Parameter] = &[
    NAME,
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
    Parameter::flag("cycle_momentum", true, "cycle momentum (SGD) or the first beta (Adam) too"),
    Parameter::probability("base_momentum", 0.85, "lowest momentum"),
    Parameter::probability("max_momentum", 0.95, "highest momentum"),
    Parameter::number("div_factor", 25.0, "max_lr over the initial rate"),
    Parameter::number("final_div_factor", 1e4, "initial over final rate"),
    Parameter::flag("three_phase", false, "fall back in the time of the rise, then anneal"),
    LAST_EPOCH,
    VERBOSE,
];

#[derive(Clone, Debug, PartialEq)]
enum Rule {
    Plateau {
        higher_is_better: bool,
        factor: f64,
        patience: i64,
        threshold: f64,
        relative: bool,
        cooldown: i64,
        min_lr: f64,
        eps: f64,
    },
    MultiStep {
        milestones: Vec<i64>,
        gamma: f64,
    },
    Step {
        size: i64,
        gamma: f64,
    },
    Exponential {
        gamma: f64,
    },
    Cosine {
        t_max: i64,
        eta_min: f64,
    },
    WarmRestarts {
        t_0: i64,
        t_mult: i64,
        eta_min: f64,
    },
    OneCycle(OneCycle),
}

#[derive(Clone, Debug, PartialEq)]
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

/// What a scheduler remembers; saved in checkpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulerState {
    /// Steps done.
    pub steps: i64,
    /// ReduceLROnPlateau: best score so far, steps since, steps to cool down.
    pub best: f64,
    pub bad_steps: i64,
    pub cooldown: i64,
    /// CosineAnnealingWarmRestarts: position in the period and its length.
    pub t_cur: i64,
    pub t_i: i64,
}

/// A scheduler with its state.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduler {
    rule: Rule,
    base_lr: f64,
    pub state: SchedulerState,
}

impl Scheduler {
    /// Reads the `lr_scheduler` section and sets the optimizer up for the start.
    /// Without a section: ReduceLROnPlateau(max, factor 0.5, patience 20).
    pub fn read(node: Option<&Node>, optimizer: &mut OptimizerSpec) -> Result<Self, ConfigError> {
        let rule = match node {
            None => Rule::Plateau {
                higher_is_better: true,
                factor: 0.5,
                patience: 20,
                threshold: 1e-4,
                relative: true,
                cooldown: 0,
                min_lr: 0.0,
                eps: 1e-8,
            },
            Some(node) => read_rule(node)?,
        };
        let base_lr = optimizer.learning_rate;
        let t_i = if let Rule::WarmRestarts { t_0, .. } = rule { t_0 } else { 0 };
        let worst = match rule {
            Rule::Plateau { higher_is_better: true, .. } => f64::NEG_INFINITY,
            _ => f64::INFINITY,
        };
        let state =
            SchedulerState { steps: 0, best: worst, bad_steps: 0, cooldown: 0, t_cur: 0, t_i };
        let scheduler = Scheduler { rule, base_lr, state };
        scheduler.start(optimizer);
        Ok(scheduler)
    }

    /// What torch does to the optimizer when a scheduler is made.
    fn start(&self, optimizer: &mut OptimizerSpec) {
        match &self.rule {
            Rule::MultiStep { milestones, gamma } => {
                let hits = milestones.iter().filter(|milestone| **milestone == 0).count();
                optimizer.learning_rate *= gamma.powi(hits as i32);
            }
            Rule::OneCycle(cycle) => cycle.apply(0, optimizer),
            _ => {}
        }
    }

    /// The learning rate that the configuration asks for at the start.
    pub fn base_lr(&self) -> f64 {
        self.base_lr
    }

    /// Whether steps change the optimizer's momentum too.
    pub fn cycles_momentum(&self) -> bool {
        matches!(&self.rule, Rule::OneCycle(cycle) if cycle.cycle_momentum)
    }

    /// One step after a validation with `score`.
    pub fn step(&mut self, score: f64, optimizer: &mut OptimizerSpec) {
        self.state.steps += 1;
        let steps = self.state.steps;
        let lr = &mut optimizer.learning_rate;
        match &self.rule {
            Rule::Plateau {
                higher_is_better,
                factor,
                patience,
                threshold,
                relative,
                cooldown,
                min_lr,
                eps,
            } => {
                let best = self.state.best;
                let better = match (higher_is_better, relative) {
                    (false, true) => score < best * (1.0 - threshold),
                    (false, false) => score < best - threshold,
                    (true, true) => score > best * (threshold + 1.0),
                    (true, false) => score > best + threshold,
                };
                if better {
                    self.state.best = score;
                    self.state.bad_steps = 0;
                } else {
                    self.state.bad_steps += 1;
                }
                if self.state.cooldown > 0 {
                    self.state.cooldown -= 1;
                    self.state.bad_steps = 0;
                }
                if self.state.bad_steps > *patience {
                    let new = (*lr * factor).max(*min_lr);
                    if *lr - new > *eps {
                        *lr = new;
                    }
                    self.state.cooldown = *cooldown;
                    self.state.bad_steps = 0;
                }
            }
            Rule::MultiStep { milestones, gamma } => {
                let hits = milestones.iter().filter(|milestone| **milestone == steps).count();
                *lr *= gamma.powi(hits as i32);
            }
            Rule::Step { size, gamma } => {
                if steps % size == 0 {
                    *lr *= gamma;
                }
            }
            Rule::Exponential { gamma } => *lr *= gamma,
            Rule::Cosine { t_max, eta_min } => {
                let t = *t_max as f64;
                let angle = |step: i64| (1.0 + (PI * step as f64 / t).cos()) / 2.0;
                if (steps - 1 - t_max) % (2 * t_max) == 0 {
                    *lr += (self.base_lr - eta_min) * (1.0 - (PI / t).cos()) / 2.0;
                } else {
                    *lr = angle(steps) / angle(steps - 1) * (*lr - eta_min) + eta_min;
                }
            }
            Rule::WarmRestarts { t_mult, eta_min, .. } => {
                self.state.t_cur += 1;
                if self.state.t_cur >= self.state.t_i {
                    self.state.t_cur -= self.state.t_i;
                    self.state.t_i *= t_mult;
                }
                let phase = PI * self.state.t_cur as f64 / self.state.t_i as f64;
                *lr = eta_min + (self.base_lr - eta_min) * (1.0 + phase.cos()) / 2.0;
            }
            Rule::OneCycle(cycle) => cycle.apply(steps, optimizer),
        }
    }
}

impl OneCycle {
    /// Sets learning rate and momentum for step `step`, counted from 0. After
    /// the cycle, where torch raises an error, both stay as they are.
    fn apply(&self, step: i64, optimizer: &mut OptimizerSpec) {
        if step >= self.total_steps {
            return;
        }
        let total = self.total_steps as f64;
        let (initial, max, min) = (self.initial_lr, self.max_lr, self.min_lr);
        let (low, high) = (self.base_momentum, self.max_momentum);
        let rise = self.pct_start * total - 1.0;
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
                optimizer.learning_rate = self.anneal(from, to, share);
                if self.cycle_momentum {
                    let momentum = self.anneal(momentum_from, momentum_to, share);
                    match &mut optimizer.algorithm {
                        Algorithm::Adam { betas } => betas.0 = momentum,
                        Algorithm::Sgd { momentum: own } => *own = momentum,
                    }
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

fn read_rule(node: &Node) -> Result<Rule, ConfigError> {
    let name = match node.get("name") {
        Some(name) => name.text()?,
        None => return Err(node.error("the key `name` is missing: which scheduler?")),
    };
    Ok(match name {
        "ReduceLROnPlateau" => {
            let section = node.section(PLATEAU)?;
            if section.number("factor") >= 1.0 {
                return Err(section.error("factor", "must be below 1"));
            }
            Rule::Plateau {
                higher_is_better: section.text("mode") == "max",
                factor: section.number("factor"),
                patience: section.integer("patience"),
                threshold: section.number("threshold"),
                relative: section.text("threshold_mode") == "rel",
                cooldown: section.integer("cooldown"),
                min_lr: section.number("min_lr"),
                eps: section.number("eps"),
            }
        }
        "MultiStepLR" => {
            let section = node.section(MULTI_STEP)?;
            Rule::MultiStep {
                milestones: section.integers("milestones"),
                gamma: section.number("gamma"),
            }
        }
        "StepLR" => {
            let section = node.section(STEP)?;
            Rule::Step { size: section.integer("step_size"), gamma: section.number("gamma") }
        }
        "ExponentialLR" => Rule::Exponential { gamma: node.section(EXPONENTIAL)?.number("gamma") },
        "CosineAnnealingLR" => {
            let section = node.section(COSINE)?;
            Rule::Cosine { t_max: section.integer("T_max"), eta_min: section.number("eta_min") }
        }
        "CosineAnnealingWarmRestarts" => {
            let section = node.section(WARM_RESTARTS)?;
            Rule::WarmRestarts {
                t_0: section.integer("T_0"),
                t_mult: section.integer("T_mult"),
                eta_min: section.number("eta_min"),
            }
        }
        "OneCycleLR" => Rule::OneCycle(read_one_cycle(&node.section(ONE_CYCLE)?)?),
        "LambdaLR" => {
            return Err(node.error(
                "LambdaLR takes Python functions, which a file cannot hold; use one of: "
                    .to_string()
                    + &SCHEDULER_NAMES.join(", "),
            ));
        }
        other => {
            let hint = nearest(other, SCHEDULER_NAMES.iter().copied())
                .map(|near| format!("; is `{near}` meant?"))
                .unwrap_or_default();
            return Err(node.error(format!(
                "unknown scheduler '{other}', known are {}{hint}",
                SCHEDULER_NAMES.join(", ")
            )));
        }
    })
}

fn read_one_cycle(section: &Section<'_>) -> Result<OneCycle, ConfigError> {
    let product = section
        .maybe_integer("epochs")
        .zip(section.maybe_integer("steps_per_epoch"))
        .and_then(|(epochs, steps)| epochs.checked_mul(steps));
    let total_steps = section.maybe_integer("total_steps").or(product).ok_or_else(|| {
        section.error("total_steps", "give total_steps, or epochs and steps_per_epoch")
    })?;
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
