//! `unet3d check`: reads everything as train or predict would, reports, and
//! runs nothing.

use anyhow::{Context, Result};
use log::{info, warn};
use tch::{Device, Kind};

use crate::cli;
use crate::config::{Section, Tree};
use crate::format;
use crate::model::UNet;
use crate::predict::{FilePair, PredictionPlan};
use crate::train::TrainingPlan;

use super::settings::CommandSettings;

const GIB: f64 = (1u64 << 30) as f64;

pub fn check(args: &cli::Check) -> Result<()> {
    let tree = Tree::read(&args.common.config, &args.common.overrides)?;
    let settings = CommandSettings::open(&tree, &args.common)?;
    let trains = settings.top.child("trainer").is_some();
    let result = if trains {
        check_training(&settings.top, args.no_data)
    } else {
        check_prediction(&settings.top, args.no_data)
    };
    // Warnings help to understand an error: they come first.
    tree.warnings().iter().for_each(|warning| warn!("{warning}"));
    result?;
    info!(
        "{}: fit for `unet3d {}`{}",
        args.common.config.display(),
        if trains { "train" } else { "predict" },
        if args.no_data { ", its data not looked at" } else { "" }
    );
    Ok(())
}

fn check_training(top: &Section<'_>, no_data: bool) -> Result<()> {
    let plan = TrainingPlan::read(top)?;
    let network = &plan.learner.network;
    let net = UNet::uninitialized(network, Kind::Float, Device::Cpu)?;
    // Training keeps all activations and, with Adam, four values a weight.
    let memory = plan.activation_bytes() + 4 * weight_bytes(&net);
    describe(&net);
    if let Some(patch) = plan.data.patch() {
        describe_memory("training", plan.data.batch_size(), patch, memory);
    }
    if no_data {
        return Ok(());
    }
    let data = plan.data.open(network, &plan.criteria, plan.learner.seed.unwrap_or(0))?;
    for (name, loader) in [("training", &data.train), ("validation", &data.val)] {
        info!(
            "{} {name} patches, {} batches an epoch, {} worker(s)",
            loader.data().len(),
            loader.batches_per_epoch(),
            loader.workers()
        );
    }
    Ok(())
}

fn check_prediction(top: &Section<'_>, no_data: bool) -> Result<()> {
    let plan = PredictionPlan::read(top)?;
    let files = if no_data { Vec::new() } else { plan.files()? };
    let net = UNet::uninitialized(&plan.network, Kind::Float, Device::Cpu)?;
    describe(&net);
    // Prediction keeps the skip connections and what one block works on.
    let patch = plan.tiling.grid.patch;
    let activations = plan.network.activation_bytes(patch) * plan.batch_size as u64;
    describe_memory("prediction", plan.batch_size, patch, activations / 2 + weight_bytes(&net));
    if no_data {
        return Ok(());
    }
    let path = plan.checkpoint()?;
    net.load_checkpoint(path)?;
    info!("{}: fits the network", path.display());
    for FilePair { input, .. } in &files {
        let dataset = format::open(input, &plan.raw)?;
        let tiling = plan.tile(&*dataset).with_context(|| input.display().to_string())?;
        info!(
            "{}: {:?} {}, {} patches",
            input.display(),
            dataset.shape(),
            dataset.element().name(),
            tiling.patch_count()
        );
    }
    Ok(())
}

fn weight_bytes(net: &UNet) -> u64 {
    net.parameter_count() as u64 * 4
}

/// Prints the size of the network.
fn describe(net: &UNet) {
    let network = net.spec();
    info!(
        "{} {} -> {} channels, feature maps {:?}: {} parameters, {:.3} GiB",
        network.family.name,
        network.in_channels,
        network.out_channels,
        network.f_maps,
        net.parameter_count(),
        weight_bytes(net) as f64 / GIB
    );
}

fn describe_memory(what: &str, batch: usize, patch: [usize; 3], memory: u64) {
    info!(
        "{what} with {batch} patch(es) {patch:?}: about {:.1} GiB on the device",
        memory as f64 / GIB
    );
}
