//! The top level of a configuration.

use anyhow::Result;

use crate::cli::Common;
use crate::config::{ConfigError, Node, Parameter, Place, Section, Tree};
use crate::device::{self, Precision};
use crate::loss::LOSSES;
use crate::metric::METRICS;
use crate::model::NETWORKS;
use crate::optim::{OPTIMIZERS, SCHEDULERS};
use crate::predict::PREDICTORS;
use crate::samples::DATA_SETS;
use crate::train::TRAINER;

/// The keys at the top of a configuration.
pub const TOP: &[Parameter] = &[
    Parameter::integer("manual_seed", 0, "fixes every random number of a run")
        .at_least(0.0)
        .optional(),
    Parameter::text("device", "", "cpu, cuda or cuda:N; CUDA when present if absent").optional(),
    Parameter::choice(
        "precision",
        "fp32",
        &["fp32", "bf16", "fp64"],
        "of the network's computations: bf16 is faster where the processor has it",
    ),
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
    Parameter::path("model_path", "the checkpoint to predict with"),
    Parameter::integer("prediction_channel", 0, "keep this output channel only")
        .at_least(0.0)
        .optional(),
];

/// An opened configuration.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    pub top: Section<'a>,
}

impl<'a> Settings<'a> {
    pub fn open(tree: &'a Tree) -> Result<Self, ConfigError> {
        Ok(Settings { top: tree.root.section(TOP)? })
    }

    /// A section that the command cannot do without.
    pub fn required(&self, name: &str) -> Result<&'a Node, ConfigError> {
        self.top.child(name).ok_or_else(|| {
            self.top.node.error(format!("the section `{name}` is missing from the configuration"))
        })
    }

    /// The device of `--device`, of the configuration, or the best there is.
    pub fn device(&self, common: &Common) -> Result<tch::Device> {
        match &common.device {
            Some(word) => device::choose(Some(word)).map_err(|error| {
                let place = Place { source: "--device".into(), position: None };
                anyhow::anyhow!(ConfigError {
                    place,
                    key: String::new(),
                    message: error.to_string()
                })
            }),
            None => device::choose(self.top.maybe_text("device"))
                .map_err(|error| anyhow::anyhow!(self.top.error("device", error.to_string()))),
        }
    }

    pub fn precision(&self) -> Precision {
        match self.top.text("precision") {
            "bf16" => Precision::Bf16,
            "fp64" => Precision::Fp64,
            _ => Precision::Fp32,
        }
    }

    pub fn seed(&self) -> Option<u64> {
        self.top.maybe_size("manual_seed").map(|seed| seed as u64)
    }
}
