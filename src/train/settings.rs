//! The `trainer` section.

use std::path::PathBuf;

use crate::config::{ConfigError, Node, Parameter};

/// The keys of the `trainer` section.
pub const TRAINER: &[Parameter] = &[
    Parameter::path("checkpoint_dir", "where checkpoints and logs go").required(),
    Parameter::path("resume", "go on from this checkpoint if it exists"),
    Parameter::path("pre_trained", "start from the weights of this checkpoint"),
    Parameter::integer("epochs", 100, "stop after this many epochs").at_least(0.0).optional(),
    Parameter::integer("iters", 100_000, "stop after this many iterations")
        .at_least(0.0)
        .optional(),
    Parameter::integer("max_num_epochs", 100, "another name of `epochs`").at_least(0.0).optional(),
    Parameter::integer("max_num_iterations", 100_000, "another name of `iters`")
        .at_least(0.0)
        .optional(),
    Parameter::integer("validate_after_iters", 100, "iterations between validations").at_least(1.0),
    Parameter::integer("log_after_iters", 100, "iterations between logs").at_least(1.0),
    Parameter::integer("checkpoint_after_iters", 500, "iterations between kept checkpoints")
        .at_least(1.0),
    Parameter::integer("validate_iters", 1, "batches of a validation; all if absent")
        .at_least(1.0)
        .optional(),
    Parameter::path("h5_dir", "where training batches are dumped; nowhere if empty"),
    Parameter::flag("eval_score_higher_is_better", true, "which score is the best"),
    Parameter::flag("skip_train_validation", false, "leave the metric out of training logs"),
    Parameter::section("tensorboard_formatter", FORMATTER, "how images reach TensorBoard"),
    Parameter::choice("on_nan", "stop", &["stop", "skip"], "what to do about a loss that is NaN"),
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
    pub checkpoint_after_iters: u64,
    pub validate_iters: Option<u64>,
    pub h5_dir: Option<PathBuf>,
    pub higher_is_better: bool,
    pub skip_train_validation: bool,
    pub on_nan: OnNan,
}

impl TrainerSpec {
    pub fn read(node: &Node) -> Result<Self, ConfigError> {
        let section = node.section(TRAINER)?;
        let either = |name: &str, alias: &str, default: u64| match (
            section.maybe_size(name),
            section.maybe_size(alias),
        ) {
            (Some(a), Some(b)) if a != b => Err(section.error(
                alias,
                format!("{b}, but `{name}`, which means the same, is {a}; keep one of them"),
            )),
            (a, b) => Ok(a.or(b).map_or(default, |count| count as u64)),
        };
        if let Some(formatter) = section.child("tensorboard_formatter")
            && let Some(name) = formatter.get("name")
            && name.text()? != "DefaultTensorboardFormatter"
        {
            return Err(name.error(
                "only DefaultTensorboardFormatter is there; others belong to networks with several outputs",
            ));
        }
        let path =
            |name: &str| section.maybe_path(name).filter(|path| !path.as_os_str().is_empty());
        Ok(TrainerSpec {
            checkpoint_dir: section.path("checkpoint_dir"),
            node: node.clone(),
            resume: path("resume"),
            pre_trained: path("pre_trained"),
            epochs: either("epochs", "max_num_epochs", 100)?,
            iters: either("iters", "max_num_iterations", 100_000)?,
            validate_after_iters: section.size("validate_after_iters") as u64,
            log_after_iters: section.size("log_after_iters") as u64,
            checkpoint_after_iters: section.size("checkpoint_after_iters") as u64,
            validate_iters: section.maybe_size("validate_iters").map(|count| count as u64),
            h5_dir: path("h5_dir"),
            higher_is_better: section.flag("eval_score_higher_is_better"),
            skip_train_validation: section.flag("skip_train_validation"),
            on_nan: match section.text("on_nan") {
                "skip" => OnNan::Skip,
                _ => OnNan::Stop,
            },
        })
    }

    /// An error at a key of the section.
    pub fn error(&self, key: &str, message: impl Into<String>) -> ConfigError {
        self.node.error_at(key, message)
    }
}
