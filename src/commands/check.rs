//! `unet3d check`: reads everything as train or predict would, reports, and
//! runs nothing.

use anyhow::{Context, Result};
use log::{info, warn};

use crate::augment::Transformer;
use crate::cli;
use crate::config::{ConfigError, Section, Tree};
use crate::format;
use crate::model::{NetworkSpec, UNet};
use crate::predict::{FilePair, PredictionPlan};
use crate::samples::required;
use crate::samples::slices;

use super::data::TrainingData;
use super::plan::Plan;
use super::settings::Settings;

const GIB: f64 = (1u64 << 30) as f64;

pub fn check(args: &cli::Check) -> Result<()> {
    let tree = Tree::read(&args.common.config, &args.common.overrides)?;
    let settings = Settings::open(&tree)?;
    let trains = settings.top.child("trainer").is_some();
    let result = if trains {
        check_training(&settings, args.no_data)
    } else {
        check_prediction(&settings, args.no_data)
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

fn check_training(settings: &Settings<'_>, no_data: bool) -> Result<()> {
    let plan = Plan::read(settings)?;
    let mut patch = None;
    for name in ["train", "val"] {
        patch = check_phase(&plan, &plan.loaders.phase(name)?)?.or(patch);
    }
    let batch = plan.loaders.batch_size as u64;
    describe(&plan.network, patch, batch, true)?;
    if no_data {
        return Ok(());
    }
    let data = TrainingData::open(&plan, settings.seed().unwrap_or(0))?;
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

/// Checks a training phase as far as that goes without its files; returns the
/// patch size.
fn check_phase(plan: &Plan<'_>, phase: &Section<'_>) -> Result<Option<[usize; 3]>, ConfigError> {
    required(phase, "file_paths")?;
    Transformer::read(required(phase, "transformer")?)?;
    if !plan.loaders.dataset.has_slice_builder {
        return Ok(None);
    }
    let node = required(phase, "slice_builder")?;
    let builder = slices::read(node)?;
    if builder.needs_weight() && plan.loaders.weight.is_none() {
        return Err(node.error(
            "draws patches by a weight map, and none is loaded: set `loaders.weight_internal_path`",
        ));
    }
    let patch = builder.patch();
    plan.network
        .check_patch(patch)
        .map_err(|error| node.error(format!("`patch_shape`: {error}")))?;
    Ok(Some(patch))
}

fn check_prediction(settings: &Settings<'_>, no_data: bool) -> Result<()> {
    let plan = PredictionPlan::read(&settings.top)?;
    let files = if no_data { Vec::new() } else { plan.files()? };
    describe(&plan.network, Some(plan.tiling.grid.patch), plan.batch_size as u64, false)?;
    if no_data {
        return Ok(());
    }
    let path = plan.checkpoint()?;
    let net = UNet::new(&plan.network, tch::Kind::Float, tch::Device::Cpu)?;
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

/// Prints the size of the network and what memory it takes.
fn describe(
    network: &NetworkSpec,
    patch: Option<[usize; 3]>,
    batch: u64,
    training: bool,
) -> Result<()> {
    let net = UNet::new(network, tch::Kind::Float, tch::Device::Cpu)?;
    let weights = net.parameter_count() as f64 * 4.0;
    info!(
        "{} {} -> {} channels, feature maps {:?}: {} parameters, {:.3} GiB",
        network.family.name,
        network.in_channels,
        network.out_channels,
        network.f_maps,
        net.parameter_count(),
        weights / GIB
    );
    if let Some(patch) = patch {
        let activations = network.activation_bytes(patch) as f64 * batch as f64;
        // Training keeps all activations and, with Adam, four values a weight;
        // prediction keeps the skip connections and what one block works on.
        let (memory, what) = if training {
            (activations + 4.0 * weights, "training")
        } else {
            (activations / 2.0 + weights, "prediction")
        };
        info!(
            "{what} with {batch} patch(es) {patch:?}: about {:.1} GiB on the device",
            memory / GIB
        );
    }
    Ok(())
}
