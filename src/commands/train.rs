//! `unet3d train`: a network learns from labelled volumes.

use anyhow::{Result, bail};
use log::{info, warn};

use crate::cli;
use crate::config::Tree;
use crate::device;
use crate::ffi::tensor::{cudnn, huge_pages, keep_memory};
use crate::optim::Scheduler;
use crate::runtime::memory;
use crate::runtime::report::Reporter;
use crate::runtime::signals::{Stopped, on_signals};
use crate::train::{Ended, Learner, Progress, Trainer, TrainingRun, claim_directory};

use super::Settings;
use super::data::TrainingData;
use super::plan::Plan;

pub fn train(args: &cli::Train, reporter: &Reporter) -> Result<()> {
    let tree = Tree::read(&args.common.config, &args.common.overrides)?;
    let settings = Settings::open(&tree)?;
    let mut plan = Plan::read(&settings)?;
    if args.resume.is_some() {
        let last = plan.trainer.checkpoint_dir.join("last_checkpoint.pytorch");
        if last.is_file() {
            plan.trainer.resume = Some(last);
        }
    }
    let seed = settings.seed();
    let fresh_seed = seed.unwrap_or_else(rand::random);
    let _lock = claim_directory(&plan.trainer.checkpoint_dir)?;

    let device = settings.device(&args.common)?;
    let precision = settings.precision();
    // Fresh memory costs time. Memory that is kept costs the least, but it comes in
    // pieces of which not all are used again: for small networks only.
    if device == tch::Device::Cpu {
        match memory::available() {
            Some(free) if plan.activation_bytes()? > free / 4 => huge_pages(),
            _ => keep_memory(),
        }
    }
    // One seed fixes everything: on CUDA that costs the fastest kernels.
    cudnn(seed.is_none(), seed.is_some());
    tch::manual_seed(fresh_seed as i64);
    let mut optimizer = plan.optimizer.clone();
    let scheduler = Scheduler::read(plan.lr_scheduler, &mut optimizer)?;
    let progress = Progress::start(fresh_seed, plan.trainer.higher_is_better);
    let mut learner =
        Learner::new(&plan.network, optimizer, scheduler, progress, (device, precision))?;

    let mut resumed = false;
    if let Some(path) = &plan.trainer.resume {
        if path.is_file() {
            let then = learner.resume(path, seed)?;
            let iteration = learner.progress.iteration;
            info!("{}: going on after iteration {iteration}", path.display());
            let now = learner.computation();
            if let Some(then) = then.filter(|then| *then != now) {
                warn!(
                    "the run was begun with {then} and goes on with {now}: its numbers will not \
                     be the same to the last bit"
                );
            }
            resumed = true;
        } else {
            warn!("`trainer.resume`: {} does not exist: starting afresh", path.display());
        }
    }
    if let (Some(path), false) = (&plan.trainer.pre_trained, resumed) {
        learner.net.load_checkpoint(path)?;
        info!("{}: weights taken over", path.display());
    }

    let data = TrainingData::open(&plan, learner.progress.seed)?;
    tree.warnings().iter().for_each(|warning| warn!("{warning}"));
    info!(
        "training {} with {} parameters on {}: {} training and {} validation patches, {} worker(s), seed {}",
        plan.network.family.name,
        learner.net.parameter_count(),
        device::describe(device),
        data.train.data().len(),
        data.val.data().len(),
        data.train.workers(),
        learner.progress.seed
    );
    if device.is_cuda() && tch::Cuda::device_count() > 1 {
        info!("training uses one GPU; {} others are idle", tch::Cuda::device_count() - 1);
    }

    let stop = on_signals()?;
    let spec = plan.trainer.clone();
    let run = TrainingRun {
        learner,
        loss: plan.loss,
        metric: plan.metric,
        train: data.train,
        val: data.val,
        spec: plan.trainer,
        config: tree.root.to_json(),
        stop,
    };
    let ended = Trainer::new(run, reporter).fit()?;
    let why = match ended {
        Ended::Iterations => format!("{} iterations done", spec.iters),
        Ended::Epochs => format!("{} epochs done", spec.epochs),
        Ended::LearningRate => "the learning rate fell below 1e-6".to_string(),
        Ended::Stopped => "stopped by a signal".to_string(),
    };
    let why = format!("{why}; {}", spec.checkpoint_dir.join("last_checkpoint.pytorch").display());
    if ended == Ended::Stopped {
        bail!(Stopped(format!("{why}: `--resume auto` goes on from there")));
    }
    info!("{why}");
    Ok(())
}
