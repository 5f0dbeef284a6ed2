//! The `trainer` section.

use std::path::PathBuf;

use crate::config::{ConfigError, Dialect, Dialects, Node, Parameter};

/// The keys of the `trainer` section.
pub const TRAINER: Dialects<&[Parameter]> = Dialects { fork: FORK, upstream: UPSTREAM };

const CHECKPOINT_DIR: Parameter =
    Parameter::path("checkpoint_dir", "where checkpoints and logs go").required();
const RESUME: Parameter = Parameter::path("resume", "go on from this checkpoint if it exists");
const PRE_TRAINED: Parameter =
    Parameter::path("pre_trained", "start from the weights of this checkpoint");
const LOG_AFTER: Parameter =
    Parameter::integer("log_after_iters", 100, "iterations between logs").at_least(1.0);
const VALIDATE_ITERS: Parameter =
    Parameter::integer("validate_iters", 1, "batches of a validation; all if absent")
        .at_least(1.0)
        .optional();
const HIGHER_IS_BETTER: Parameter =
    Parameter::flag("eval_score_higher_is_better", true, "which score is the best");
const SKIP_TRAIN_VALIDATION: Parameter =
    Parameter::flag("skip_train_validation", false, "leave the metric out of training logs");
const ACCUMULATE: Parameter = Parameter::integer(
    "accumulate",
    1,
    "batches of one step, which is that of one batch of as many samples",
)
.within(1.0, 65536.0);
const ON_NAN: Parameter =
    Parameter::choice("on_nan", "stop", &["stop", "skip"], "what to do about a loss that is NaN");

const UPSTREAM: &[Parameter] = &[
    CHECKPOINT_DIR,
    RESUME,
    PRE_TRAINED,
    Parameter::integer("max_num_epochs", 100, "stop after this many epochs")
        .at_least(0.0)
        .required(),
    Parameter::integer("max_num_iterations", 100_000, "stop after this many iterations")
        .at_least(0.0)
        .required(),
    Parameter::integer("validate_after_iters", 200, "iterations between validations").at_least(1.0),
    LOG_AFTER,
    VALIDATE_ITERS,
    HIGHER_IS_BETTER,
    SKIP_TRAIN_VALIDATION,
    ACCUMULATE,
    Parameter::integer("max_val_images", 100, "accepted, unused: validation logs no images")
        .at_least(0.0),
    Parameter::section("tensorboard_formatter", UPSTREAM_FORMATTER, "how images reach TensorBoard"),
    Parameter::integer("num_iterations", 1, "the first iteration; only 1 is possible")
        .within(1.0, 1.0),
    Parameter::integer("num_epoch", 0, "the first epoch; only 0 is possible").within(0.0, 0.0),
    ON_NAN,
];

/// The keys of upstream's `tensorboard_formatter` section.
const UPSTREAM_FORMATTER: &[Parameter] = &[
    Parameter::flag("skip_last_target", false, "leave the last channel of the labels out"),
    Parameter::flag("log_channelwise", false, "accepted, unused: every channel is an image"),
];

const FORK: &[Parameter] = &[
    CHECKPOINT_DIR,
    RESUME,
    PRE_TRAINED,
    Parameter::integer("epochs", 100, "stop after this many epochs").at_least(0.0).optional(),
    Parameter::integer("iters", 100_000, "stop after this many iterations")
        .at_least(0.0)
        .optional(),
    Parameter::integer("max_num_epochs", 100, "another name of `epochs`").at_least(0.0).optional(),
    Parameter::integer("max_num_iterations", 100_000, "another name of `iters`")
        .at_least(0.0)
        .optional(),
    Parameter::integer("validate_after_iters", 100, "iterations between validations").at_least(1.0),
    LOG_AFTER,
    Parameter::integer("checkpoint_after_iters", 500, "iterations between kept checkpoints")
        .at_least(1.0),
    VALIDATE_ITERS,
    Parameter::path("h5_dir", "where training batches are dumped; nowhere if empty"),
    HIGHER_IS_BETTER,
    SKIP_TRAIN_VALIDATION,
    ACCUMULATE,
    Parameter::section("tensorboard_formatter", FORMATTER, "how images reach TensorBoard"),
    ON_NAN,
];

/// The keys of the `tensorboard_formatter` section, of which the name alone is read.
const FORMATTER: &[Parameter] = &[Parameter::choice(
    "name",
    "DefaultTensorboardFormatter",
    &["DefaultTensorboardFormatter"],
    "the only one",
)];

/// What happens when the loss is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnNan {
    /// The run ends with an error; the weights are those before the batch.
    Stop,
    /// The batch is left out, with a warning.
    Skip,
}

/// The typed `trainer` section.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainerSpec {
    /// Its section, for the places of errors.
    node: Node,
    pub checkpoint_dir: PathBuf,
    pub resume: Option<PathBuf>,
    pub pre_trained: Option<PathBuf>,
    pub epochs: u64,
    pub iters: u64,
    pub validate_after_iters: u64,
    pub log_after_iters: u64,
    /// `u64::MAX`: no numbered checkpoints are kept.
    pub checkpoint_after_iters: u64,
    pub validate_iters: Option<u64>,
    pub h5_dir: Option<PathBuf>,
    pub higher_is_better: bool,
    pub skip_train_validation: bool,
    pub on_nan: OnNan,
    /// Batches of a step, on each device.
    pub accumulate: usize,
    /// Whether images of labels leave their last channel out.
    pub skip_last_target: bool,
}

impl TrainerSpec {
    pub fn read(node: &Node) -> Result<Self, ConfigError> {
        let section = node.section(*TRAINER.of(node.dialect()))?;
        let known = |name: &str| section.knows(name).then(|| section.maybe_size(name)).flatten();
        let either = |name: &str, alias: &str, default: u64| match (known(name), known(alias)) {
            (Some(a), Some(b)) if a != b => Err(section.error(
                alias,
                format!("{b}, but `{name}`, which means the same, is {a}; keep one of them"),
            )),
            (a, b) => Ok(a.or(b).map_or(default, |count| count as u64)),
        };
        let formatter = section.child("tensorboard_formatter");
        let skip_last_target = match formatter {
            Some(formatter) if node.dialect() == Dialect::Upstream => {
                formatter.section(UPSTREAM_FORMATTER)?.flag("skip_last_target")
            }
            _ => false,
        };
        if let Some(formatter) = formatter
            && node.dialect() == Dialect::Fork
            && let Some(name) = formatter.get("name")
            && name.text()? != "DefaultTensorboardFormatter"
        {
            return Err(name.error(
                "only DefaultTensorboardFormatter is there; others belong to networks with several outputs",
            ));
        }
        let path = |name: &str| {
            let path = section.knows(name).then(|| section.maybe_path(name)).flatten();
            path.filter(|path| !path.as_os_str().is_empty())
        };
        Ok(TrainerSpec {
            checkpoint_dir: section.path("checkpoint_dir"),
            node: node.clone(),
            resume: path("resume"),
            pre_trained: path("pre_trained"),
            epochs: either("epochs", "max_num_epochs", 100)?,
            iters: either("iters", "max_num_iterations", 100_000)?,
            validate_after_iters: section.size("validate_after_iters") as u64,
            log_after_iters: section.size("log_after_iters") as u64,
            checkpoint_after_iters: known("checkpoint_after_iters")
                .map_or(u64::MAX, |count| count as u64),
            validate_iters: section.maybe_size("validate_iters").map(|count| count as u64),
            h5_dir: path("h5_dir"),
            higher_is_better: section.flag("eval_score_higher_is_better"),
            skip_train_validation: section.flag("skip_train_validation"),
            on_nan: match section.text("on_nan") {
                "skip" => OnNan::Skip,
                _ => OnNan::Stop,
            },
            accumulate: section.size(ACCUMULATE.name),
            skip_last_target,
        })
    }

    /// An error at a key of the section.
    pub fn error(&self, key: &str, message: impl Into<String>) -> ConfigError {
        self.node.error_at(key, message)
    }
}
