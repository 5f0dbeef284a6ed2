//! `unet3d predict`: every input file through the network.

use std::thread;

use anyhow::{Result, anyhow, bail};
use log::{info, warn};

use crate::cli;
use crate::config::Tree;
use crate::device;
use crate::ffi::tensor::huge_pages;
use crate::predict::{DeviceNetwork, Outcome, PredictionPlan, PredictionRun, Selection};
use crate::runtime::report::Reporter;
use crate::runtime::signals::{Stopped, on_signals};

use super::estimate::Estimate;
use super::{CommandSettings, stage};

pub fn predict(args: &cli::Predict, reporter: &Reporter) -> Result<()> {
    huge_pages();
    let tree = Tree::read(&args.common.config, &args.common.overrides)?;
    let settings = CommandSettings::open(&tree, &args.common)?;
    let plan = PredictionPlan::read(&settings.top)?;
    let threads = match args.common.threads {
        Some(threads) => usize::from(threads),
        None => thread::available_parallelism().map_or(1, |n| n.get()),
    };
    let stage = stage(&settings.top, threads)?;
    tree.warnings().iter().for_each(|warning| warn!("{warning}"));
    let devices = settings.device.all()?;
    let estimate = Estimate::prediction(&plan);
    devices.iter().try_for_each(|device| estimate.ensure(*device))?;
    let selection = Selection { shard: args.shard, skip_existing: args.skip_existing };
    let run = PredictionRun::new(plan, selection, stage, on_signals()?)?;
    let networks = devices
        .into_iter()
        .map(|device| {
            let network = DeviceNetwork::load(&run.plan, device)?;
            info!("predicting {} volume(s) on {}", run.files.len(), device::describe(device));
            Ok(network)
        })
        .collect::<Result<Vec<_>>>()?;
    let outcome = run.execute(networks, reporter);
    report(&run, &outcome)
}

/// Turns what became of the files into the result of the command.
fn report(run: &PredictionRun, outcome: &Outcome) -> Result<()> {
    let Outcome { written, failed, left } = outcome;
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
