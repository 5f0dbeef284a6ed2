//! `unet3d train`: a network learns from labelled volumes.

use anyhow::{Result, bail};
use log::{info, warn};

use crate::cli;
use crate::config::Tree;
use crate::device;
use crate::ffi::tensor::{cudnn, huge_pages, keep_memory};
use crate::model::{Layout, UNet};
use crate::optim::{Optimizer, Scheduler};
use crate::runtime::memory;
use crate::runtime::report::Reporter;
use crate::runtime::signals::{Stopped, on_signals};
use crate::train::{Ended, Parts, Progress, RunNotes, Trainer, claim_directory, resume};

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
    let kinds = precision.training();
    let layout = Layout::for_training(device, kinds);
    let net = UNet::with_layout(&plan.network, kinds, device, layout)?;
    let mut optimizer_spec = plan.optimizer;
    let mut scheduler = Scheduler::read(plan.lr_scheduler, &mut optimizer_spec)?;
    let tensors = net.parameters().into_iter().map(|parameter| parameter.tensor).collect();
    let mut optimizer = Optimizer::new(optimizer_spec, tensors)?;

    let layout = format!("{:?}", net.layout());
    let mut progress = Progress::start(fresh_seed, plan.trainer.higher_is_better);
    let mut resumed = false;
    if let Some(path) = &plan.trainer.resume {
        if path.is_file() {
            let name = plan.scheduler_name();
            let (from, origin) =
                resume(path, &net, &mut optimizer, &mut scheduler, name, seed, fresh_seed)?;
            info!("{}: going on after iteration {}", path.display(), from.iteration);
            if let Some(origin) = origin {
                let now =
                    (i64::from(tch::get_num_threads()), format!("{precision:?}"), layout.clone());
                let then = (origin.threads, origin.precision, origin.layout);
                if now != then {
                    warn!(
                        "the run was begun with (threads, precision, layout) {then:?} and goes on \
                         with {now:?}: its numbers will not be the same to the last bit"
                    );
                }
            }
            progress = from;
            resumed = true;
        } else {
            warn!("`trainer.resume`: {} does not exist: starting afresh", path.display());
        }
    }
    if let (Some(path), false) = (&plan.trainer.pre_trained, resumed) {
        net.load_checkpoint(path)?;
        info!("{}: weights taken over", path.display());
    }

    let data = TrainingData::open(&plan, progress.seed)?;
    tree.warnings().iter().for_each(|warning| warn!("{warning}"));
    info!(
        "training {} with {} parameters on {}: {} training and {} validation patches, {} worker(s), seed {}",
        plan.network.family.name,
        net.parameter_count(),
        device::describe(device),
        data.train.data().len(),
        data.val.data().len(),
        data.train.workers(),
        progress.seed
    );
    if device.is_cuda() && tch::Cuda::device_count() > 1 {
        info!("training uses one GPU; {} others are idle", tch::Cuda::device_count() - 1);
    }

    let notes = RunNotes {
        device: match device {
            tch::Device::Cuda(index) => format!("cuda:{index}"),
            _ => "cpu".to_string(),
        },
        scheduler: plan.scheduler_name().to_string(),
        precision: format!("{precision:?}"),
        layout,
        config: tree.root.to_json(),
    };
    let stop = on_signals()?;
    let spec = plan.trainer.clone();
    let parts = Parts {
        net,
        optimizer,
        scheduler,
        loss: plan.loss,
        metric: plan.metric,
        train: data.train,
        val: data.val,
        spec: plan.trainer,
        progress,
        notes,
        device,
        precision,
        stop,
    };
    let ended = Trainer::new(parts, reporter).fit()?;
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
