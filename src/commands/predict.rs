//! `unet3d predict`: every input file through the network.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use log::{info, warn};

use crate::cli;
use crate::config::{ConfigError, Tree};
use crate::device;
use crate::model::{NetworkSpec, UNet};
use crate::patch::{Loaders, prediction_inputs, required};
use crate::predict::{Job, Network, Outcome, run};
use crate::report::Reporter;

use super::Settings;

pub fn predict(args: &cli::Predict, reporter: &Reporter) -> Result<()> {
    let tree = Tree::read(&args.common.config, &args.common.overrides)?;
    let settings = Settings::open(&tree)?;
    let network = NetworkSpec::read(settings.required("model")?)?;
    let loaders = Loaders::read(settings.required("loaders")?)?;
    let job = Job::read(&settings.top, &loaders, network, inputs(&loaders)?)?;
    let model_path = model_path(&settings)?;
    tree.warnings().iter().for_each(|warning| warn!("{warning}"));

    let device = settings.device(&args.common)?;
    let precision = settings.precision();
    info!("predicting {} volume(s) on {}", job.inputs.len(), device::describe(device));
    let net = UNet::new(&job.network, precision.kind(), device)?;
    net.load_checkpoint(&model_path)?;
    info!("{}: {} parameters", model_path.display(), net.parameter_count());

    let outcome = run(&job, Network { net, device, precision }, reporter)?;
    report(&job, &outcome)
}

/// The files that `loaders.test.file_paths` stands for.
pub fn inputs(loaders: &Loaders<'_>) -> Result<Vec<PathBuf>, ConfigError> {
    let phase = loaders.phase("test")?;
    prediction_inputs(required(&phase, "file_paths")?, loaders.raw)
}

/// The checkpoint to predict with, which must exist.
pub fn model_path(settings: &Settings<'_>) -> Result<PathBuf, ConfigError> {
    let path = settings.top.maybe_text("model_path").map(PathBuf::from).ok_or_else(|| {
        settings.top.error("model_path", "the key is missing: which checkpoint to predict with?")
    })?;
    if path.is_file() {
        return Ok(path);
    }
    let absolute = std::path::absolute(&path).unwrap_or(path);
    Err(settings.top.error("model_path", format!("no such checkpoint: {}", absolute.display())))
}

fn report(job: &Job, outcome: &Outcome) -> Result<()> {
    if outcome.failed.is_empty() {
        return Ok(());
    }
    let name = |path: &Path| path.display().to_string();
    for (index, fault) in &outcome.failed {
        warn!("failed: {}: {fault:#}", name(&job.inputs[*index]));
    }
    if let [(_, fault)] = &outcome.failed[..]
        && job.inputs.len() == 1
    {
        bail!("{fault:#}");
    }
    Err(anyhow!(
        "{} of {} volume(s) could not be predicted; the lines above say which and why",
        outcome.failed.len(),
        job.inputs.len()
    ))
}
