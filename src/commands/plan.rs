//! A training configuration with types, and the checks that need no data.

use anyhow::Result;

use crate::config::{ConfigError, Node, Section};
use crate::loss::{self, Loss};
use crate::metric::{self, Metric};
use crate::model::NetworkSpec;
use crate::optim::{OptimizerSpec, Scheduler};
use crate::samples::{Loaders, slices};
use crate::train::{OnNan, TrainerSpec};

use super::Settings;

/// Everything `unet3d train` reads from the file.
pub struct Plan<'a> {
    pub top: Section<'a>,
    pub network: NetworkSpec,
    pub trainer: TrainerSpec,
    pub optimizer: OptimizerSpec,
    pub lr_scheduler: Option<&'a Node>,
    pub loss: Loss,
    pub metric: Metric,
    pub loaders: Loaders<'a>,
}

impl<'a> Plan<'a> {
    pub fn read(settings: &Settings<'a>) -> Result<Self, ConfigError> {
        let top = settings.top;
        let plan = Plan {
            top,
            network: NetworkSpec::read(settings.required("model")?)?,
            trainer: TrainerSpec::read(settings.required("trainer")?)?,
            optimizer: OptimizerSpec::read(settings.required("optimizer")?)?,
            lr_scheduler: top.child("lr_scheduler"),
            loss: loss::read(settings.required("loss")?)?,
            metric: metric::read(top.node)?,
            loaders: Loaders::read(settings.required("loaders")?)?,
        };
        if plan.trainer.on_nan == OnNan::Skip && plan.network.unit.order.has_batch_norm() {
            return Err(settings.required("trainer")?.error(
                "`on_nan: skip` cannot be used with batch norm (`b` in `model.layer_order`), whose \
                 running statistics the batch has changed already; use `on_nan: stop`",
            ));
        }
        // It is made again later; here its keys are checked.
        Scheduler::read(plan.lr_scheduler, &mut plan.optimizer.clone())?;
        let weights = plan.loaders.weight.is_some();
        plan.loss.check_loaded(weights)?;
        plan.metric.check_loaded(weights)?;
        Ok(plan)
    }

    /// What the feature maps of a training batch take, as far as the patch size is
    /// known without the data.
    pub fn activation_bytes(&self) -> Result<u64, ConfigError> {
        let phase = self.loaders.phase("train")?;
        let Some(node) = phase.child("slice_builder") else { return Ok(0) };
        let patch = slices::read(node)?.patch();
        Ok(self.network.activation_bytes(patch) * self.loaders.batch_size as u64)
    }
}
