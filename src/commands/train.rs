//! `unet3d train`: a network learns from labelled volumes.

use anyhow::{Result, bail};
use log::{info, warn};
use tch::{Cuda, Device};

use crate::cli;
use crate::config::Tree;
use crate::device::describe;
use crate::ffi::tensor::{cudnn, huge_pages, keep_memory};
use crate::runtime::memory;
use crate::runtime::report::Reporter;
use crate::runtime::signals::{Stopped, on_signals};
use crate::samples::Division;
use crate::train::{
    Ended, Learner, Start, Trainer, TrainerSpec, TrainingData, TrainingPlan, TrainingRun, Wish,
    claim_directory, refuse_running,
};

use super::CommandSettings;
use super::estimate::Estimate;

pub fn train(args: &cli::Train, reporter: &Reporter) -> Result<()> {
    let tree = Tree::read(&args.common.config, &args.common.flags.overrides)?;
    let settings = CommandSettings::open(&tree, &args.common.flags)?;
    let plan = TrainingPlan::read(&settings.top)?;
    let device = settings.device.one()?;
    Estimate::training(&plan).ensure(device)?;

    // Before anything is touched.
    let directory = plan.trainer.checkpoint_dir.clone();
    refuse_running(&directory)?;
    let mut start = Start::find(&plan.trainer, wish(args))?;
    let _lock = claim_directory(&directory)?;
    start.announce();

    prepare(device, &plan);
    let (network, seed) = (plan.learner.network.clone(), plan.learner.seed);
    let mut learner = Learner::new(plan.learner, device)?;
    let heritage = learner.begin(&start.beginning, &plan.configuration, seed)?;
    heritage.check_step(learner.step, &plan.trainer)?;
    if heritage.judged_anew {
        start.best_gives_way(&directory);
    }
    let division = Division { batches: plan.trainer.accumulate, ..Division::NONE };
    let data = plan.data.open(&network, &plan.criteria, (learner.progress.seed, division))?;
    learner.data = data.train.data().summary();
    tree.warnings().iter().for_each(|warning| warn!("{warning}"));
    announce(&learner, &data);

    let spec = plan.trainer.clone();
    let run = TrainingRun {
        learner,
        criteria: plan.criteria,
        data,
        spec: plan.trainer,
        configuration: plan.configuration,
        logs: start.make_room(&directory, heritage.logs.as_deref())?,
        stop: on_signals()?,
    };
    report(Trainer::new(run, reporter).fit()?, &spec)
}

/// What the flags say about an earlier run.
fn wish(args: &cli::Train) -> Wish {
    match (&args.resume, args.overwrite) {
        (Some(_), _) => Wish::Resume,
        (None, true) => Wish::Overwrite,
        (None, false) => Wish::None,
    }
}

/// Settings of libtorch for the whole process.
fn prepare(device: Device, plan: &TrainingPlan) {
    // Fresh memory costs time. Memory that is kept costs the least, but it comes in
    // pieces of which not all are used again: for small networks only.
    if device == Device::Cpu {
        match memory::available() {
            Some(free) if plan.activation_bytes() > free / 4 => huge_pages(),
            _ => keep_memory(),
        }
    }
    // One seed fixes everything: on CUDA that costs the fastest kernels.
    cudnn(plan.learner.seed.is_none(), plan.learner.seed.is_some());
}

fn announce(learner: &Learner, data: &TrainingData) {
    info!(
        "training {} with {} parameters on {}: {} training and {} validation patches, {} worker(s), seed {}",
        learner.net.spec().family.name,
        learner.net.parameter_count(),
        describe(learner.device),
        data.train.data().len(),
        data.val.data().len(),
        data.train.workers(),
        learner.progress.seed
    );
    if learner.device.is_cuda() && Cuda::device_count() > 1 {
        info!("training uses one GPU; {} others are idle", Cuda::device_count() - 1);
    }
}

/// Says why a run ended, and where its last checkpoint is.
fn report(ended: Ended, spec: &TrainerSpec) -> Result<()> {
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
