//! What a configuration says about training, as types.

use crate::checkpoint::Form;
use crate::config::{ConfigError, Dialect, Section};
use crate::device::{MemoryFormat, Precision};
use crate::loss::{self, Loss};
use crate::metric::{self, Metric};
use crate::model::NetworkSpec;
use crate::optim::{OptimizerSpec, Scheduler};

use super::data::DataPlan;
use super::record::StepSize;
use super::settings::{OnNan, TrainerSpec};

/// Iterations from which on a run is long: a trial of memory formats costs a second.
const LONG: u64 = 1000;

/// Everything that a configuration says about training. It owns what it holds; the
/// configuration is not read again, only named in error messages.
pub struct TrainingPlan {
    pub learner: LearnerSpec,
    pub criteria: Criteria,
    pub data: DataPlan,
    pub trainer: TrainerSpec,
    /// The whole configuration as JSON.
    pub configuration: String,
}

/// The network and what changes it.
pub struct LearnerSpec {
    pub network: NetworkSpec,
    pub optimizer: OptimizerSpec,
    pub scheduler: Scheduler,
    pub precision: Precision,
    /// The order of feature maps in memory that is asked for.
    pub memory_format: Option<MemoryFormat>,
    /// Whether the run is so long that a second for a trial of memory formats is well spent.
    pub long: bool,
    /// Fixes every random number; drawn anew for each run if absent.
    pub seed: Option<u64>,
    /// Which score of a validation is the better one.
    pub higher_is_better: bool,
    /// Whose keys checkpoints have.
    pub form: Form,
    /// The samples of a step.
    pub step: StepSize,
}

/// What a network is trained and judged by.
pub struct Criteria {
    pub loss: Loss,
    pub metric: Metric,
}

impl TrainingPlan {
    /// Reads everything that training needs from the top of a configuration.
    ///
    /// # Errors
    /// Missing keys, impossible values, and settings that contradict each other.
    pub fn read(top: &Section<'_>) -> Result<Self, ConfigError> {
        let network = NetworkSpec::read(top.required("model")?)?;
        let trainer = TrainerSpec::read(top.required("trainer")?)?;
        let mut optimizer = OptimizerSpec::read(top.required("optimizer")?)?;
        let scheduler = match top.child("lr_scheduler") {
            Some(node) => Scheduler::read(Some(node), &mut optimizer)?,
            None => Scheduler::of_silence(top.node.dialect()),
        };
        let loss = loss::read(top.required("loss")?)?;
        let metric = metric::read(top.node)?;
        let data = DataPlan::read(top.required("loaders")?, top.required("model")?, &network)?;
        if trainer.on_nan == OnNan::Skip && network.unit.order.has_batch_norm() {
            return Err(top.required("trainer")?.error(
                "`on_nan: skip` cannot be used with batch norm (`b` in `model.layer_order`), whose \
                 running statistics the batch has changed already; use `on_nan: stop`",
            ));
        }
        network.class_names(top)?;
        loss.check_loaded(data.has_weights())?;
        metric.check_loaded(data.has_weights())?;
        Ok(TrainingPlan {
            learner: LearnerSpec {
                network,
                optimizer,
                scheduler,
                precision: Precision::read(top),
                memory_format: MemoryFormat::read(top),
                long: trainer.iters >= LONG,
                seed: top.maybe_size("manual_seed").map(|seed| seed as u64),
                higher_is_better: trainer.higher_is_better,
                form: match top.node.dialect() {
                    Dialect::Fork => Form::Fork,
                    Dialect::Upstream => Form::Upstream,
                },
                step: StepSize {
                    processes: 1,
                    batch_size: data.batch_size(),
                    accumulate: trainer.accumulate,
                },
            },
            criteria: Criteria { loss, metric },
            data,
            trainer,
            configuration: top.node.to_json(),
        })
    }

    /// Bytes that the feature maps of a training batch take, as far as the size of
    /// the patches is known without the data.
    pub fn activation_bytes(&self) -> u64 {
        let patch = self.data.patch().map(|patch| self.learner.network.activation_bytes(patch));
        patch.unwrap_or(0).saturating_mul(self.data.batch_size() as u64)
    }
}
