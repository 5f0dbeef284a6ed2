//! The learning-rate schedulers, one a file: adding one adds a file here and a line to
//! [`SCHEDULERS`].

mod cosine_annealing;
mod exponential;
mod multi_step;
mod one_cycle;
pub(super) mod plateau;
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
    ],
    shared: &[Parameter::any("verbose", "accepted, unused")],
    refused: &[("LambdaLR", "takes Python functions, which a file cannot hold")],
};

const GAMMA: Parameter = Parameter::number("gamma", 0.1, "factor on the learning rate");
const ETA_MIN: Parameter = Parameter::number("eta_min", 0.0, "lowest learning rate");
const LAST_EPOCH: Parameter =
    Parameter::integer("last_epoch", -1, "only −1, the start, is possible").within(-1.0, -1.0);
