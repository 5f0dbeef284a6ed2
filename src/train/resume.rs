//! Where a run stands, and going on from a checkpoint.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use tch::Tensor;

use crate::checkpoint::{Checkpoint, ParameterState, PickleValue, strip_module_prefix};
use crate::model::{UNet, to_tensor};
use crate::optim::{Algorithm, Moments, Optimizer, Scheduler, SchedulerState};

use super::Average;

/// Where a run stands after an iteration.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The last iteration done, counted from 1.
    pub iteration: u64,
    /// The epoch that runs, counted from 0.
    pub epoch: u64,
    /// Batches of the epoch that were trained on.
    pub batches: u64,
    /// Best score of a validation so far.
    pub best: f64,
    /// Averages since the epoch began.
    pub loss: Average,
    pub score: Average,
    /// Fixes data order and augmentation.
    pub seed: u64,
}

impl Progress {
    pub fn start(seed: u64, higher_is_better: bool) -> Self {
        Progress {
            iteration: 0,
            epoch: 0,
            batches: 0,
            best: if higher_is_better { f64::NEG_INFINITY } else { f64::INFINITY },
            loss: Average::default(),
            score: Average::default(),
            seed,
        }
    }

    pub(super) fn to_value(&self) -> PickleValue {
        let average = |average: &Average| {
            PickleValue::dict([
                ("sum", average.sum.into()),
                ("count", (average.count as i64).into()),
            ])
        };
        PickleValue::dict([
            ("epoch", PickleValue::from(self.epoch as i64)),
            ("batches", PickleValue::from(self.batches as i64)),
            ("loss", average(&self.loss)),
            ("score", average(&self.score)),
            // As text: a seed may use all 64 bits.
            ("seed", PickleValue::from(self.seed.to_string())),
        ])
    }

    /// Of a checkpoint; `None` for files of the Python program.
    fn from_value(value: &PickleValue, checkpoint: &Checkpoint) -> Option<Self> {
        let count = |value: &PickleValue, key: &str| u64::try_from(value.get(key)?.as_int()?).ok();
        let average = |key: &str| {
            let value = value.get(key)?;
            Some(Average { sum: value.get("sum")?.as_float()?, count: count(value, "count")? })
        };
        Some(Progress {
            iteration: checkpoint.num_iterations,
            epoch: count(value, "epoch")?,
            batches: count(value, "batches")?,
            best: checkpoint.best_eval_score,
            loss: average("loss")?,
            score: average("score")?,
            seed: value.get("seed")?.as_str()?.parse().ok()?,
        })
    }
}

pub(super) fn scheduler_value(state: &SchedulerState) -> PickleValue {
    PickleValue::dict([
        ("steps", PickleValue::from(state.steps)),
        ("best", PickleValue::from(state.best)),
        ("bad_steps", PickleValue::from(state.bad_steps)),
        ("cooldown", PickleValue::from(state.cooldown)),
        ("t_cur", PickleValue::from(state.t_cur)),
        ("t_i", PickleValue::from(state.t_i)),
    ])
}

fn scheduler_state(value: &PickleValue) -> Option<SchedulerState> {
    let int = |key: &str| value.get(key)?.as_int();
    Some(SchedulerState {
        steps: int("steps")?,
        best: value.get("best")?.as_float()?,
        bad_steps: int("bad_steps")?,
        cooldown: int("cooldown")?,
        t_cur: int("t_cur")?,
        t_i: int("t_i")?,
    })
}

/// What a checkpoint of this program says of the run that wrote it.
pub struct Origin {
    pub scheduler: String,
    pub threads: i64,
    pub precision: String,
    pub layout: String,
}

/// Restores network, optimizer and scheduler from a checkpoint and tells where
/// its run stood. `seed`, if the configuration
/// has one, wins over the file's; `fresh_seed` is for files without one; `scheduler_name` is what
/// the configuration asks for: state of another scheduler is not taken over.
pub fn resume(
    path: &Path,
    net: &UNet,
    optimizer: &mut Optimizer,
    scheduler: &mut Scheduler,
    scheduler_name: &str,
    seed: Option<u64>,
    fresh_seed: u64,
) -> Result<(Progress, Option<Origin>)> {
    let mut checkpoint = Checkpoint::read(path)?;
    strip_module_prefix(&mut checkpoint.model_state);
    let tensors = checkpoint
        .model_state
        .iter()
        .map(|(name, data)| Ok((name.clone(), to_tensor(data)?)))
        .collect::<Result<Vec<_>>>()?;
    net.load_state_dict(&tensors).with_context(|| {
        format!("{}: the checkpoint is of another network than the `model` section", path.display())
    })?;
    drop(tensors);
    restore_optimizer(&checkpoint, optimizer)
        .with_context(|| format!("{}: the optimizer's state does not fit", path.display()))?;

    let own = checkpoint.extra("progress").and_then(|v| Progress::from_value(v, &checkpoint));
    let progress = match own {
        Some(progress) => Progress { seed: seed.unwrap_or(progress.seed), ..progress },
        None => Progress {
            iteration: checkpoint.num_iterations,
            epoch: checkpoint.epoch,
            best: checkpoint.best_eval_score,
            ..Progress::start(seed.unwrap_or(fresh_seed), true)
        },
    };
    let origin = checkpoint.extra("run").and_then(|run| {
        Some(Origin {
            scheduler: run.get("scheduler")?.as_str()?.to_string(),
            threads: run.get("threads")?.as_int()?,
            precision: run.get("precision")?.as_str()?.to_string(),
            layout: run.get("layout")?.as_str()?.to_string(),
        })
    });
    let state = checkpoint.extra("scheduler").and_then(scheduler_state);
    let same = origin.as_ref().is_some_and(|origin| origin.scheduler == scheduler_name);
    if let (Some(state), true) = (state, same) {
        scheduler.state = state;
        // The rate the scheduler had come to; a changed `learning_rate` in the
        // configuration is told apart by the rate the run began with.
        let group = checkpoint.optimizer.groups.first();
        if let Some(group) = group {
            let began = group.initial_lr.unwrap_or(optimizer.spec.learning_rate);
            if began == scheduler.base_lr() {
                optimizer.spec.learning_rate = group.lr;
                match (&mut optimizer.spec.algorithm, group.betas, group.momentum) {
                    (Algorithm::Adam { betas }, Some(saved), _) if scheduler.cycles_momentum() => {
                        betas.0 = saved.0;
                    }
                    (Algorithm::Sgd { momentum }, _, Some(saved))
                        if scheduler.cycles_momentum() =>
                    {
                        *momentum = saved;
                    }
                    _ => {}
                }
            }
        }
    }
    Ok((progress, origin))
}

fn restore_optimizer(checkpoint: &Checkpoint, optimizer: &mut Optimizer) -> Result<()> {
    let count = optimizer.parameters().len();
    let states = &checkpoint.optimizer.state;
    // No step was made yet, or there is nothing to remember (SGD without momentum).
    if states.is_empty() {
        return Ok(());
    }
    let state_of = |id: usize| -> Result<&ParameterState> {
        match states.iter().find(|(other, _)| *other == id as u64) {
            Some((_, state)) => Ok(state),
            None => bail!(
                "it has {} parameters' states, the network has {count} parameters",
                states.len()
            ),
        }
    };
    ensure!(
        states.len() <= count,
        "it has {} parameters' states, the network has {count} parameters",
        states.len()
    );
    let mut steps = 0;
    let moments = match optimizer.spec.algorithm {
        Algorithm::Adam { .. } => {
            let (mut first, mut second) = (Vec::new(), Vec::new());
            for id in 0..count {
                let state = state_of(id)?;
                match (&state.exp_avg, &state.exp_avg_sq) {
                    (Some(m), Some(v)) => {
                        first.push(to_tensor(m)?);
                        second.push(to_tensor(v)?);
                    }
                    _ => bail!(
                        "it is not Adam's; set `optimizer.algorithm` to the one that wrote it"
                    ),
                }
                steps = state.step.unwrap_or(0) as i64;
            }
            Moments::Adam { first, second }
        }
        Algorithm::Sgd { momentum } => {
            let mut buffers: Vec<Tensor> = Vec::new();
            for id in 0..count {
                let state = state_of(id)?;
                if state.exp_avg.is_some() {
                    bail!("it is Adam's; set `optimizer.algorithm` to the one that wrote it");
                }
                if let (Some(buffer), true) = (&state.momentum_buffer, momentum != 0.0) {
                    buffers.push(to_tensor(buffer)?);
                }
            }
            if buffers.len() != count {
                buffers.clear();
            }
            steps = checkpoint.num_iterations as i64;
            Moments::Sgd { buffers }
        }
    };
    optimizer.restore(&moments, steps)
}
