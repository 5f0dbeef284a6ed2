//! `unet3d predict`: every input file through the network.

use std::path::Path;
use std::thread;

use anyhow::{Result, anyhow, bail};
use log::{info, warn};

use crate::cli;
use crate::config::{Node, Tree};
use crate::device;
use crate::ffi::tensor::huge_pages;
use crate::planning::{Files, contradiction, prediction_of};
use crate::predict::{
    DeviceNetwork, ImagePlan, Outcome, PREDICTORS, PredictionPlan, PredictionRun, Selection,
    predict_images,
};
use crate::runtime::report::Reporter;
use crate::runtime::signals::{Stopped, on_signals};
use crate::train::Told;

use super::estimate::Estimate;
use super::{CommandSettings, stage};

pub fn predict(args: &cli::Predict, reporter: &Reporter) -> Result<()> {
    huge_pages();
    let tree = configuration(args)?;
    let settings = CommandSettings::open(&tree, &args.flags)?;
    let predictor = settings.top.node.section_or_empty("predictor");
    let (entry, section) = PREDICTORS.open(&predictor)?;
    if entry.whole_images {
        let tolerant = section.text("on_error") == "continue";
        return predict_whole_images(&tree, &settings, tolerant);
    }
    let plan = PredictionPlan::read(&settings.top)?;
    let threads = match args.flags.threads {
        Some(threads) => usize::from(threads),
        None => thread::available_parallelism().map_or(1, |n| n.get()),
    };
    let stage = stage(&settings.top, threads)?;
    if let (Some(_), Some(node)) = (&plan.regions, settings.top.child("instances")) {
        return Err(node
            .error("EmbeddingsPredictor writes regions itself; leave the section `instances` out")
            .into());
    }
    tree.warnings().iter().for_each(|warning| warn!("{warning}"));
    let devices = settings.device.all()?;
    let estimate = Estimate::prediction(&plan);
    devices.iter().try_for_each(|device| estimate.ensure(*device))?;
    warn_of_contradiction(plan.checkpoint()?, &tree.root);
    let selection = Selection { shard: args.shard, skip_existing: args.skip_existing };
    let run = PredictionRun::new(plan, selection, stage, on_signals()?)?;
    let networks = devices
        .into_iter()
        .map(|device| {
            let network = DeviceNetwork::load(&run, device)?;
            info!("predicting {} volume(s) on {}", run.files.len(), device::describe(device));
            Ok(network)
        })
        .collect::<Result<Vec<_>>>()?;
    let outcome = run.execute(networks, reporter);
    tell_agreement(&outcome.agreements);
    report(&run, &outcome)
}

/// The configuration of `--config`, or the one that follows from `--checkpoint`.
fn configuration(args: &cli::Predict) -> Result<Tree> {
    let mut overrides = args.flags.overrides.clone();
    if let Some(config) = &args.config {
        if let Some(output) = &args.output {
            let output = serde_json::Value::from(output.to_string_lossy());
            overrides.push(format!("loaders.output_dir={output}"));
        }
        return Ok(Tree::read(config, &overrides)?);
    }
    let Some(checkpoint) = &args.checkpoint else { bail!("--config or --checkpoint is needed") };
    let files = Files { checkpoint, inputs: &args.inputs, output: args.output.as_deref() };
    let text = prediction_of(files)?;
    let name = format!("the configuration in {}", checkpoint.display());
    Ok(Tree::parse(&text, &name, &overrides)?)
}

/// Warns if the configuration contradicts what its checkpoint tells of its training.
/// `root` is the top of the configuration.
pub(super) fn warn_of_contradiction(checkpoint: &Path, root: &Node) {
    // A checkpoint that cannot be read is reported when it is loaded.
    if let Ok(Some(told)) = Told::by(checkpoint)
        && let Some(what) = contradiction(&told, root)
    {
        warn!("{}: {what}", checkpoint.display());
    }
}

/// Predicts images one after the other.
fn predict_whole_images(tree: &Tree, settings: &CommandSettings<'_>, tolerant: bool) -> Result<()> {
    let plan = ImagePlan::read(&settings.top, tolerant)?;
    let images = plan.files()?;
    tree.warnings().iter().for_each(|warning| warn!("{warning}"));
    let device = settings.device.one()?;
    info!("predicting {} image(s) on {}", images.len(), device::describe(device));
    let failed = predict_images(&plan, &images, device, &on_signals()?)?;
    match &failed[..] {
        [] => Ok(()),
        failed if plan.tolerant => {
            warn!("{} of {} image(s) could not be predicted", failed.len(), images.len());
            Ok(())
        }
        [fault] => bail!("{fault:#}"),
        failed => bail!("{} of {} image(s) could not be predicted", failed.len(), images.len()),
    }
}

/// Logs how the results agree with their ground truths, in the mean over the files.
fn tell_agreement(agreements: &[Vec<f64>]) {
    let Some(first) = agreements.first() else { return };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let all: Vec<f64> = agreements.iter().flatten().copied().collect();
    // Planes of volumes of unlike depth cannot be averaged one by one.
    if agreements.iter().all(|values| values.len() == first.len()) {
        let of = |class: usize| agreements.iter().map(|values| values[class]).collect::<Vec<_>>();
        let classes: Vec<String> =
            (0..first.len()).map(|class| format!("{:.4}", mean(&of(class)))).collect();
        info!("Per-class average metric: [{}]", classes.join(", "));
    }
    info!("Average metric: {:.6}", mean(&all));
}

/// Turns what became of the files into the result of the command.
fn report(run: &PredictionRun, outcome: &Outcome) -> Result<()> {
    let Outcome { written, failed, left, .. } = outcome;
    if *left > 0 && run.is_stopped() {
        bail!(Stopped(format!(
            "stopped by a signal: {written} volume(s) are done, {left} are left; \
             `--skip-existing` goes on"
        )));
    }
    if *left > 0 {
        let cause = failed.first().map(|(_, fault)| format!("{fault:#}")).unwrap_or_default();
        bail!(
            "{cause}: {written} volume(s) are done, {left} are left; free some space and go on with \
             `--skip-existing`"
        );
    }
    if run.plan.tolerant && !failed.is_empty() {
        warn!(
            "{} of {} volume(s) could not be predicted; the exit code is 0, since \
             `predictor.on_error` is `continue`",
            failed.len(),
            run.files.len()
        );
        return Ok(());
    }
    match &failed[..] {
        [] => Ok(()),
        [(_, fault)] if run.files.len() == 1 => bail!("{fault:#}"),
        failed => {
            let lines = failed.iter().map(|(index, fault)| {
                let (path, text) =
                    (run.files[*index].input.display().to_string(), format!("{fault:#}"));
                // Most errors name the file themselves.
                if text.contains(&path) {
                    format!("\n  {text}")
                } else {
                    format!("\n  {path}: {text}")
                }
            });
            Err(anyhow!(
                "{} of {} volume(s) could not be predicted:{}",
                failed.len(),
                run.files.len(),
                lines.collect::<String>()
            ))
        }
    }
}
