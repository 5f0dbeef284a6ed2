//! `unet3d train`: a network learns from labelled volumes.

use anyhow::{Result, bail};
use log::{LevelFilter, info, warn};
use tch::Device;

use crate::cli;
use crate::config::Tree;
use crate::device::describe;
use crate::distributed::Group;
use crate::ffi::tensor::{cudnn, huge_pages, keep_memory};
use crate::runtime::memory;
use crate::runtime::report::Reporter;
use crate::runtime::signals::{Stopped, on_signals};
use crate::samples::Division;
use crate::train::{
    Beginning, Ended, Learner, LearnerSpec, Start, StepSize, Trainer, TrainerSpec, TrainingData,
    TrainingPlan, TrainingRun, Wish, claim_directory, first_difference, refuse_running,
};

use super::CommandSettings;
use super::estimate::Estimate;
use super::ranks::on_ranks;

pub fn train(args: &cli::Train, reporter: &Reporter) -> Result<()> {
    on_ranks(args, |group, number| run(args, reporter, group, number))
}

/// The training on one rank, whose number on its machine is `number`.
fn run(args: &cli::Train, reporter: &Reporter, group: &Group, number: usize) -> Result<()> {
    let level = log::max_level();
    if !group.is_first() {
        // Rank 0 warns of what all of them find before they train.
        log::set_max_level(LevelFilter::Error);
    }
    let tree = Tree::read(&args.common.config, &args.common.flags.overrides)?;
    let settings = CommandSettings::open(&tree, &args.common.flags)?;
    let plan = TrainingPlan::read(&settings.top)?;
    group.agree("configuration", &plan.configuration, |rank, own, first| {
        let difference = first_difference(own, first);
        format!("rank {rank} has another configuration than rank 0: {difference}")
    })?;
    let device = settings.device.of_process(number)?;
    Estimate::training(&plan).ensure(device)?;

    // Before anything is touched.
    let directory = plan.trainer.checkpoint_dir.clone();
    let (mut start, mut lock) = (None, None);
    let beginning = group.text_of_first("beginning", || {
        refuse_running(&directory)?;
        let found = start.insert(Start::find(&plan.trainer, wish(args))?);
        lock = Some(claim_directory(&directory)?);
        found.announce();
        Ok(found.beginning.to_text())
    })?;
    let beginning = Beginning::from_text(&beginning);

    prepare(device, &plan);
    let (network, seed) = (plan.learner.network.clone(), plan.learner.seed);
    // All ranks draw alike if no seed is given, too.
    let drawn = group.text_of_first("seed", || Ok(rand::random::<u64>().to_string()))?;
    let spec = LearnerSpec {
        seed: seed.or(drawn.parse().ok()),
        step: StepSize { processes: group.size(), ..plan.learner.step },
        ..plan.learner
    };
    let mut learner = Learner::new(spec, device)?;
    let heritage = learner.begin(&beginning, &plan.configuration, seed)?;
    heritage.check_step(learner.step, &plan.trainer)?;
    group.agree("checkpoint", &format!("{:?}", learner.progress), |rank, _, _| {
        format!("rank {rank} has another checkpoint to go on from than rank 0")
    })?;
    learner.share(group)?;
    let (rank, ranks) = (group.rank(), group.size());
    let division = Division { rank, ranks, batches: plan.trainer.accumulate };
    let data = plan.data.open(&network, &plan.criteria, (learner.progress.seed, division))?;
    learner.data = data.train.data().summary();
    group.agree("data", &data.summary(), |rank, own, first| {
        format!("rank {rank} finds other data than rank 0: {own}; on rank 0 {first}")
    })?;
    // All have read what may be moved aside now.
    let mut logs = String::new();
    if let Some(mut start) = start {
        if heritage.judged_anew {
            start.best_gives_way(&directory);
        }
        tree.warnings().iter().for_each(|warning| warn!("{warning}"));
        announce(&learner, &data);
        logs = start.make_room(&directory, heritage.logs.as_deref())?;
    }
    log::set_max_level(level);

    let spec = plan.trainer.clone();
    let run = TrainingRun {
        learner,
        criteria: plan.criteria,
        data,
        spec: plan.trainer,
        configuration: plan.configuration,
        logs,
        stop: on_signals()?,
        group,
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
    if learner.step.processes * learner.step.accumulate > 1 {
        info!("a step has {} samples: {}", learner.step.samples(), learner.step);
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
