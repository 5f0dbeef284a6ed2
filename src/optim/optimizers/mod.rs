//! The optimizers, one a file: adding one adds a file here and a line to [`OPTIMIZERS`].

mod adam;
mod sgd;

use super::optimizer::OptimizerEntry;
use crate::config::{Parameter, Registry};

/// All optimizers.
pub static OPTIMIZERS: Registry<OptimizerEntry> = Registry {
    kind: "optimizer",
    name: Parameter::text("algorithm", "Adam", "the optimizer"),
    entries: &[&adam::ENTRY, &sgd::ENTRY],
    shared: &[
        Parameter::number("learning_rate", 0.0, "the learning rate at the start")
            .at_least(0.0)
            .required(),
        Parameter::number("weight_decay", 0.0, "L2 penalty, added to the gradient")
            .at_least(0.0)
            .required(),
    ],
    refused: &[],
};
