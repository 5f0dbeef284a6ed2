//! `unet3d predict`: every input file through the network.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use anyhow::{Result, anyhow, bail};
use log::{info, warn};
use tch::Device;

use crate::checkpoint::sha256;
use crate::cli;
use crate::config::{ConfigError, Tree};
use crate::device;
use crate::ffi::tensor::huge_pages;
use crate::format;
use crate::model::{NetworkSpec, UNet};
use crate::predict::{Job, Network, Outcome, is_up_to_date, run};
use crate::runtime::report::Reporter;
use crate::runtime::signals::{Stopped, on_signals};
use crate::samples::{Loaders, prediction_inputs, required};
use crate::stitch::PlanError;

use super::Settings;

pub fn predict(args: &cli::Predict, reporter: &Reporter) -> Result<()> {
    huge_pages();
    let tree = Tree::read(&args.common.config, &args.common.overrides)?;
    let settings = Settings::open(&tree)?;
    let network = NetworkSpec::read(settings.required("model")?)?;
    let loaders = Loaders::read(settings.required("loaders")?)?;
    let mut job = Job::read(&settings.top, &loaders, network, inputs(&loaders)?)?;
    let model_path = model_path(&settings)?;
    tree.warnings().iter().for_each(|warning| warn!("{warning}"));
    if let Some(shard) = args.shard {
        job.retain(|index, _| shard.takes(index));
        info!("{shard}: {} volume(s)", job.inputs.len());
    }
    job.attributes.push(("checkpoint_sha256", sha256(&model_path)?));
    if args.skip_existing {
        let before = job.inputs.len();
        let (spec, attributes) = (job.output, job.attributes.clone());
        job.retain(|_, (input, output)| !is_up_to_date(output, input, &spec, &attributes));
        info!("{} of {before} volume(s) have their result already", before - job.inputs.len());
    }
    check_inputs(&job)?;
    job.stop = on_signals()?;

    let networks = devices(&settings, args)?
        .into_iter()
        .map(|device| {
            let precision = settings.precision();
            let net = UNet::new(&job.network, precision.prediction(), device)?;
            net.load_checkpoint(&model_path)?;
            info!("predicting {} volume(s) on {}", job.inputs.len(), device::describe(device));
            Ok(Network { net, device, precision })
        })
        .collect::<Result<Vec<_>>>()?;
    let outcome = run(&job, networks, reporter);
    report(&job, &outcome)
}

/// The devices to use: all visible GPUs unless one is named.
fn devices(settings: &Settings<'_>, args: &cli::Predict) -> Result<Vec<Device>> {
    let device = settings.device(&args.common)?;
    let wish = args.common.device.as_deref().or(settings.top.maybe_text("device"));
    Ok(match (device, wish) {
        (Device::Cuda(_), None | Some("cuda")) => {
            (0..tch::Cuda::device_count() as usize).map(Device::Cuda).collect()
        }
        _ => vec![device],
    })
}

/// The files that `loaders.test.file_paths` stands for.
pub fn inputs(loaders: &Loaders<'_>) -> Result<Vec<PathBuf>, ConfigError> {
    if let Some(reason) = loaders.dataset.refuses_prediction {
        let message = format!("{} {reason}", loaders.dataset.name);
        return Err(loaders.section.error("dataset", message));
    }
    let phase = loaders.phase("test")?;
    prediction_inputs(required(&phase, "file_paths")?, loaders.raw)
}

/// The checkpoint to predict with, which must exist.
pub fn model_path(settings: &Settings<'_>) -> Result<PathBuf, ConfigError> {
    let path = settings.top.maybe_path("model_path").ok_or_else(|| {
        settings.top.error("model_path", "the key is missing: which checkpoint to predict with?")
    })?;
    if path.is_file() {
        return Ok(path);
    }
    let absolute = std::path::absolute(&path).unwrap_or(path);
    Err(settings.top.error("model_path", format!("no such checkpoint: {}", absolute.display())))
}

/// Patches that leave voxels uncovered, and transforms whose result the network
/// cannot take, do so in every file: better to hear of it before anything runs.
/// What is wrong with a file of its own is reported in its turn.
fn check_inputs(job: &Job) -> Result<()> {
    for path in &job.inputs {
        let Ok(dataset) = format::open(path, &job.raw) else {
            continue;
        };
        if let Err(error) = job.plan_for(&*dataset)
            && (error.chain().any(|cause| cause.is::<ConfigError>())
                || matches!(error.downcast_ref(), Some(PlanError::Uncovered(_))))
        {
            return Err(error.context(path.display().to_string()));
        }
    }
    Ok(())
}

fn report(job: &Job, outcome: &Outcome) -> Result<()> {
    if outcome.left > 0 && !job.stop.load(Ordering::Relaxed) {
        let cause = outcome.failed.first().map(|(_, fault)| format!("{fault:#}"));
        bail!(
            "{}: {} volume(s) are done, {} are left; free some space and go on with `--skip-existing`",
            cause.unwrap_or_default(),
            outcome.written,
            outcome.left
        );
    }
    if outcome.left > 0 {
        let message = format!(
            "stopped by a signal: {} volume(s) are done, {} are left; `--skip-existing` goes on",
            outcome.written, outcome.left
        );
        bail!(Stopped(message));
    }
    match &outcome.failed[..] {
        [] => Ok(()),
        [(_, fault)] if job.inputs.len() == 1 => bail!("{fault:#}"),
        failed => {
            let mut table = String::new();
            for (index, fault) in failed {
                let (path, text) = (job.inputs[*index].display().to_string(), format!("{fault:#}"));
                // Most errors name the file themselves.
                table += &if text.contains(&path) {
                    format!("\n  {text}")
                } else {
                    format!("\n  {path}: {text}")
                };
            }
            Err(anyhow!(
                "{} of {} volume(s) could not be predicted:{table}",
                failed.len(),
                job.inputs.len()
            ))
        }
    }
}
