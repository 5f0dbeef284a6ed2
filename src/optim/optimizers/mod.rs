//! The optimizers, one a file: adding one adds a file here and a line to [`OPTIMIZERS`].

mod adadelta;
mod adagrad;
mod adam;
mod adamax;
mod adamw;
mod moments;
mod nadam;
mod per_tensor;
mod radam;
mod rmsprop;
mod rprop;
mod sgd;

use super::optimizer::OptimizerEntry;
use crate::config::{Dialects, Parameter, Registry};

/// All optimizers. The fork knows two of them.
pub static OPTIMIZERS: Dialects<Registry<OptimizerEntry>> = Dialects {
    fork: Registry {
        kind: "optimizer",
        name: Parameter::text("algorithm", "Adam", "the optimizer"),
        entries: &[&adam::ENTRY, &sgd::ENTRY],
        shared: &[LEARNING_RATE.required(), WEIGHT_DECAY.required()],
        refused: &[],
    },
    upstream: Registry {
        kind: "optimizer",
        name: Parameter::text("name", "Adam", "the optimizer"),
        entries: &[
            &adam::ENTRY,
            &adamw::ENTRY,
            &adamax::ENTRY,
            &radam::ENTRY,
            &nadam::ENTRY,
            &adadelta::ENTRY,
            &adagrad::ENTRY,
            &rmsprop::ENTRY,
            &rprop::ENTRY,
            &sgd::UPSTREAM,
        ],
        shared: &[LEARNING_RATE, WEIGHT_DECAY],
        refused: &[
            ("LBFGS", "needs a function that computes the loss again, and fails upstream too"),
            ("ASGD", "fails upstream too, where its keys are handed to Adamax"),
            ("SparseAdam", "works on sparse gradients, which no network here has"),
        ],
    },
};

const LEARNING_RATE: Parameter =
    Parameter::number("learning_rate", 1e-3, "the learning rate at the start").at_least(0.0);
const WEIGHT_DECAY: Parameter = Parameter::number(
    "weight_decay",
    0.0,
    "L2 penalty, added to the gradient; of the weights themselves with AdamW",
)
.at_least(0.0);
