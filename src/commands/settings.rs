//! The top level of a configuration.

use log::info;

use crate::checkpoint::{Form, form};
use crate::cli::RunFlags;
use crate::config::{
    ConfigError, Dialect, Dialects, Node, Parameter, Section, Tree, Verdict, tell,
};
use crate::device::{DEVICE, DeviceWish, MEMORY_FORMAT, PRECISION};
use crate::loss::LOSSES;
use crate::metric::METRICS;
use crate::model::{CLASS_NAMES, NETWORKS};
use crate::optim::{OPTIMIZERS, SCHEDULERS};
use crate::predict::PREDICTORS;
use crate::samples::DATA_SETS;
use crate::train::TRAINER;

use super::INSTANCES;

/// The keys at the top of a configuration, as each dialect has them.
pub static TOP: Dialects<&'static [Parameter]> = Dialects { fork: FORK, upstream: UPSTREAM };

const FORK: &[Parameter] = &[
    SEED,
    DIALECT,
    DEVICE,
    PRECISION,
    MEMORY_FORMAT,
    Parameter::entry("model", &NETWORKS.fork, "the network"),
    Parameter::section("trainer", TRAINER.fork, "the training loop"),
    Parameter::entry("optimizer", &OPTIMIZERS.fork, "the optimizer"),
    Parameter::entry("loss", &LOSSES.fork, "the loss"),
    Parameter::entry("eval_metric", &METRICS.fork, "the metric that validation is judged by"),
    Parameter::entry(
        "lr_scheduler",
        &SCHEDULERS,
        "the learning-rate scheduler; if absent, ReduceLROnPlateau with mode max, factor 0.5 and patience 20",
    ),
    Parameter::entry("loaders", &DATA_SETS.fork, "the data"),
    Parameter::entry("predictor", &PREDICTORS.fork, "how predictions are made"),
    INSTANCES_SECTION,
    MODEL_PATH,
    CLASS_NAMES,
    Parameter::integer("prediction_channel", 0, "keep this output channel only")
        .at_least(0.0)
        .optional(),
];

const UPSTREAM: &[Parameter] = &[
    SEED,
    DIALECT,
    DEVICE,
    PRECISION,
    MEMORY_FORMAT,
    Parameter::entry("model", &NETWORKS.upstream, "the network"),
    Parameter::section("trainer", TRAINER.upstream, "the training loop"),
    Parameter::entry("optimizer", &OPTIMIZERS.upstream, "the optimizer"),
    Parameter::entry("loss", &LOSSES.upstream, "the loss"),
    Parameter::entry("eval_metric", &METRICS.upstream, "the metric that validation is judged by"),
    Parameter::entry("lr_scheduler", &SCHEDULERS, "the learning-rate scheduler; none if absent"),
    Parameter::entry("loaders", &DATA_SETS.upstream, "the data"),
    Parameter::entry("predictor", &PREDICTORS.upstream, "how predictions are made"),
    INSTANCES_SECTION,
    MODEL_PATH,
    CLASS_NAMES,
];

const SEED: Parameter = Parameter::integer("manual_seed", 0, "fixes every random number of a run")
    .at_least(0.0)
    .optional();
const DIALECT: Parameter = Parameter::choice(
    "dialect",
    "fork",
    Dialect::WORDS,
    "whose meaning names and defaults have: flavell-lab/pytorch-3dunet's (`fork`) or \
     wolny/pytorch-3dunet's (`upstream`); told by the other keys if absent",
)
.optional();
const INSTANCES_SECTION: Parameter = Parameter::section(
    "instances",
    INSTANCES,
    "regions of each prediction, made while it is written; the flags of `unet3d instances` as keys",
);
const MODEL_PATH: Parameter = Parameter::path("model_path", "the checkpoint to predict with");

/// An opened configuration.
#[derive(Clone, Debug)]
pub struct CommandSettings<'a> {
    pub top: Section<'a>,
    /// The device of `--device` or of the configuration.
    pub device: DeviceWish,
}

impl<'a> CommandSettings<'a> {
    /// Tells the dialect of a configuration and opens its top level.
    ///
    /// # Errors
    /// Signs of both dialects, wrong types and impossible values.
    pub fn open(tree: &'a Tree, flags: &RunFlags) -> Result<Self, ConfigError> {
        let verdict = tell(&tree.root, || told_by_checkpoint(&tree.root))?;
        tree.set_dialect(verdict.dialect);
        info!("read as a file of {}, told by {}", verdict.dialect, verdict.reason);
        let top = tree.root.section(*TOP.of(verdict.dialect))?;
        Ok(CommandSettings { device: DeviceWish::read(&top, flags.device.as_deref()), top })
    }
}

/// The dialect whose form the checkpoint of `model_path` has. A file that cannot be
/// read is reported when it is loaded.
fn told_by_checkpoint(root: &Node) -> Option<Verdict> {
    let path = root.get("model_path")?.file_path().ok().filter(|path| path.is_file())?;
    let (form, sign) = form(&path).ok()??;
    let dialect = match form {
        Form::Fork => Dialect::Fork,
        Form::Upstream => Dialect::Upstream,
    };
    Some(Verdict { dialect, reason: format!("the form of {}: {sign}", path.display()) })
}
