//! One scheduler a file.

use crate::config::Parameter;

pub(super) mod cosine_annealing;
pub(super) mod exponential;
pub(super) mod multi_step;
pub(super) mod one_cycle;
pub(super) mod plateau;
pub(super) mod step;
pub(super) mod warm_restarts;

const GAMMA: Parameter = Parameter::number("gamma", 0.1, "factor on the learning rate");
const ETA_MIN: Parameter = Parameter::number("eta_min", 0.0, "lowest learning rate");
const LAST_EPOCH: Parameter =
    Parameter::integer("last_epoch", -1, "only −1, the start, is possible").within(-1.0, -1.0);
