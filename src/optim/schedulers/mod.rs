//! The learning-rate schedulers, one a file: adding one adds a file here and a line to
//! [`SCHEDULERS`].

mod constant;
mod cosine_annealing;
mod cyclic;
mod exponential;
mod linear;
mod multi_step;
mod one_cycle;
pub(super) mod plateau;
mod polynomial;
mod step;
mod warm_restarts;

use super::scheduler::SchedulerEntry;
use crate::config::{Parameter, Registry};

/// All schedulers.
pub static SCHEDULERS: Registry<SchedulerEntry> = Registry {
    kind: "scheduler",
    name: Parameter::text("name", "", "the scheduler, as torch calls it").required(),
    entries: &[
        &plateau::ENTRY,
        &multi_step::ENTRY,
        &step::ENTRY,
        &exponential::ENTRY,
        &cosine_annealing::ENTRY,
        &warm_restarts::ENTRY,
        &one_cycle::ENTRY,
        &constant::ENTRY,
        &linear::ENTRY,
        &polynomial::ENTRY,
        &cyclic::ENTRY,
    ],
    shared: &[Parameter::any("verbose", "accepted, unused")],
    refused: &[
        ("LambdaLR", "takes Python functions, which a file cannot hold"),
        ("MultiplicativeLR", "takes Python functions, which a file cannot hold"),
        ("ChainedScheduler", "takes Python objects, which a file cannot hold"),
        ("SequentialLR", "takes Python objects, which a file cannot hold"),
    ],
};

const GAMMA: Parameter = Parameter::number("gamma", 0.1, "factor on the learning rate");
const TOTAL_ITERS: Parameter =
    Parameter::integer("total_iters", 5, "validations until the change is over").at_least(0.0);
const ETA_MIN: Parameter = Parameter::number("eta_min", 0.0, "lowest learning rate");
const LAST_EPOCH: Parameter =
    Parameter::integer("last_epoch", -1, "only −1, the start, is possible").within(-1.0, -1.0);
