//! A run as a checkpoint.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use log::warn;

use crate::checkpoint::{
    Checkpoint, Group, OptimizerState, ParameterState, PickleValue, copy_file, remove_leftovers,
};
use crate::files::{Lock, lock_directory};
use crate::model::{UNet, from_tensor};
use crate::optim::{Algorithm, EPSILON, Moments, Optimizer, Scheduler};

use super::resume::{Progress, scheduler_value};
use super::settings::TrainerSpec;

/// What a checkpoint says of a run besides network and optimizer.
pub struct RunNotes {
    pub device: String,
    pub scheduler: String,
    pub precision: String,
    /// Order of feature maps in memory.
    pub layout: String,
    /// The configuration as JSON.
    pub config: String,
}

/// Writes `last_checkpoint.pytorch`, and copies of it as the best one and under
/// the iteration's number where asked.
#[allow(clippy::too_many_arguments)]
pub fn save(
    net: &UNet,
    optimizer: &Optimizer,
    scheduler: &Scheduler,
    progress: &Progress,
    spec: &TrainerSpec,
    notes: &RunNotes,
    best: bool,
    keep: bool,
) -> Result<()> {
    let directory = &spec.checkpoint_dir;
    fs::create_dir_all(directory)
        .with_context(|| format!("{}: the directory cannot be made", directory.display()))?;
    let model_state = net
        .state_dict()
        .iter()
        .map(|(name, tensor)| Ok((name.clone(), from_tensor(tensor)?)))
        .collect::<Result<Vec<_>>>()?;
    let checkpoint = Checkpoint {
        epoch: progress.epoch + 1,
        num_iterations: progress.iteration,
        model_state,
        best_eval_score: progress.best,
        eval_score_higher_is_better: spec.higher_is_better,
        optimizer: optimizer_state(optimizer, scheduler)?,
        device: notes.device.clone(),
        max_num_epochs: spec.epochs,
        max_num_iterations: spec.iters,
        validate_after_iters: spec.validate_after_iters,
        log_after_iters: spec.log_after_iters,
        h5_dir: spec.h5_dir.as_ref().map(|p| p.display().to_string()).unwrap_or_default(),
        validate_iters: spec.validate_iters,
        extra: vec![
            ("version".into(), env!("CARGO_PKG_VERSION").into()),
            ("progress".into(), progress.to_value()),
            ("scheduler".into(), scheduler_value(&scheduler.state)),
            (
                "run".into(),
                PickleValue::dict([
                    ("scheduler", PickleValue::from(notes.scheduler.as_str())),
                    ("threads", PickleValue::from(i64::from(tch::get_num_threads()))),
                    ("precision", PickleValue::from(notes.precision.as_str())),
                    ("layout", PickleValue::from(notes.layout.as_str())),
                ]),
            ),
            ("config".into(), notes.config.as_str().into()),
        ],
    };
    // The last one comes last: a run that is killed in between does the iteration
    // again, and finds the same best score.
    let mut names = Vec::new();
    if best {
        names.push("best_checkpoint.pytorch".to_string());
    }
    if keep {
        names.push(format!("{}_checkpoint.pytorch", progress.iteration));
    }
    names.push("last_checkpoint.pytorch".to_string());
    let paths: Vec<_> = names.iter().map(|name| directory.join(name)).collect();
    checkpoint.write(&paths[0])?;
    for path in &paths[1..] {
        copy_file(&paths[0], path)?;
    }
    Ok(())
}

/// Takes hold of a checkpoint directory for this run, for as long as the lock
/// returned lives, and finds out before hours of training whether it can be
/// written. A crash lets go of it as well: the lock is the system's.
pub fn claim_directory(directory: &Path) -> Result<Lock> {
    let context = || {
        format!(
            "{}: checkpoints cannot be written there; choose another `trainer.checkpoint_dir`",
            directory.display()
        )
    };
    fs::create_dir_all(directory).with_context(context)?;
    let lock = lock_directory(directory).with_context(context)?;
    match &lock {
        Lock::Held(_) => {}
        Lock::Taken => bail!(
            "{}: another run writes its checkpoints there; wait for it, or choose another \
             `trainer.checkpoint_dir`",
            directory.display()
        ),
        // Some network file systems have no locks: better to train than not.
        Lock::Unavailable(error) => {
            warn!("{}: cannot be locked against other runs: {error}", directory.display());
        }
    }
    tempfile::Builder::new().prefix(".writable").tempfile_in(directory).with_context(context)?;
    // What a run that was killed in the midst of writing left behind.
    remove_leftovers(directory).with_context(context)?;
    Ok(lock)
}

fn optimizer_state(optimizer: &Optimizer, scheduler: &Scheduler) -> Result<OptimizerState> {
    let steps = optimizer.step_count()?;
    let count = optimizer.parameters().len();
    let initial_lr = Some(scheduler.base_lr());
    let params = (0..count as u64).collect();
    let spec = optimizer.spec;
    let (state, group) = match (spec.algorithm, optimizer.moments()) {
        (Algorithm::Adam { betas }, Moments::Adam { first, second }) => {
            let mut state = Vec::with_capacity(count);
            for (id, (m, v)) in first.iter().zip(second).enumerate() {
                let parameter = ParameterState {
                    step: Some(steps as u64),
                    exp_avg: Some(from_tensor(m)?),
                    exp_avg_sq: Some(from_tensor(v)?),
                    ..ParameterState::default()
                };
                state.push((id as u64, parameter));
            }
            let group = Group {
                lr: spec.learning_rate,
                weight_decay: spec.weight_decay,
                betas: Some(betas),
                eps: Some(EPSILON),
                amsgrad: Some(false),
                initial_lr,
                params,
                ..Group::default()
            };
            (state, group)
        }
        (Algorithm::Sgd { momentum }, Moments::Sgd { buffers }) => {
            let mut state = Vec::with_capacity(count);
            for (id, buffer) in buffers.iter().enumerate() {
                let parameter = ParameterState {
                    momentum_buffer: Some(from_tensor(buffer)?),
                    ..ParameterState::default()
                };
                state.push((id as u64, parameter));
            }
            let group = Group {
                lr: spec.learning_rate,
                weight_decay: spec.weight_decay,
                momentum: Some(momentum),
                dampening: Some(0.0),
                nesterov: Some(false),
                initial_lr,
                params,
                ..Group::default()
            };
            (state, group)
        }
        _ => anyhow::bail!("the optimizer's state is of another algorithm"),
    };
    let state = if steps == 0 { Vec::new() } else { state };
    Ok(OptimizerState { state, groups: vec![group] })
}
