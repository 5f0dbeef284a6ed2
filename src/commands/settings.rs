//! The top level of a configuration.

use crate::cli::Common;
use crate::config::{ConfigError, Parameter, Section, Tree};
use crate::device::{DEVICE, DeviceWish, PRECISION};
use crate::loss::LOSSES;
use crate::metric::METRICS;
use crate::model::NETWORKS;
use crate::optim::{OPTIMIZERS, SCHEDULERS};
use crate::predict::PREDICTORS;
use crate::samples::DATA_SETS;
use crate::train::TRAINER;

use super::INSTANCES;

/// The keys at the top of a configuration.
pub const TOP: &[Parameter] = &[
    Parameter::integer("manual_seed", 0, "fixes every random number of a run")
        .at_least(0.0)
        .optional(),
    DEVICE,
    PRECISION,
    Parameter::entry("model", &NETWORKS, "the network"),
    Parameter::section("trainer", TRAINER, "the training loop"),
    Parameter::entry("optimizer", &OPTIMIZERS, "the optimizer"),
    Parameter::entry("loss", &LOSSES, "the loss"),
    Parameter::entry("eval_metric", &METRICS, "the metric that validation is judged by"),
    Parameter::entry(
        "lr_scheduler",
        &SCHEDULERS,
        "the learning-rate scheduler; if absent, ReduceLROnPlateau with mode max, factor 0.5 and patience 20",
    ),
    Parameter::entry("loaders", &DATA_SETS, "the data"),
    Parameter::entry("predictor", &PREDICTORS, "how predictions are made"),
    Parameter::section(
        "instances",
        INSTANCES,
        "regions of each prediction, made while it is written; the flags of `unet3d instances` as keys",
    ),
    Parameter::path("model_path", "the checkpoint to predict with"),
    Parameter::integer("prediction_channel", 0, "keep this output channel only")
        .at_least(0.0)
        .optional(),
];

/// An opened configuration.
#[derive(Clone, Debug)]
pub struct CommandSettings<'a> {
    pub top: Section<'a>,
    /// The device of `--device` or of the configuration.
    pub device: DeviceWish,
}

impl<'a> CommandSettings<'a> {
    pub fn open(tree: &'a Tree, common: &Common) -> Result<Self, ConfigError> {
        let top = tree.root.section(TOP)?;
        Ok(CommandSettings { device: DeviceWish::read(&top, common.device.as_deref()), top })
    }
}
