//! `unet3d check`: reads everything as train or predict would, reports, and
//! runs nothing.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use log::{info, warn};
use tch::{Device, Kind};

use crate::cli;
use crate::config::{Tree, differences};
use crate::files::check_writable;
use crate::model::UNet;
use crate::planning::{Findings, describe_input, doubtful_settings, look_at, look_at_training};
use crate::predict::{FilePair, ImagePlan, PREDICTORS, PredictionPlan};
use crate::samples::Division;
use crate::train::{
    Beginning, Learner, Start, TrainerSpec, TrainingPlan, Wish, check_directory, forecast,
    in_words, refuse_running,
};

use super::estimate::Estimate;
use super::predict::warn_of_contradiction;
use super::settings::CommandSettings;
use super::stage;

/// Voxels of a volume to predict that are looked at one by one.
const MOST_VOXELS: usize = 8 << 20;

const GIB: f64 = (1u64 << 30) as f64;

pub fn check(args: &cli::Check) -> Result<()> {
    let tree = Tree::read(&args.common.config, &args.common.flags.overrides)?;
    let settings = CommandSettings::open(&tree, &args.common.flags)?;
    for (here, there) in differences(&tree.root, tree.root.dialect()) {
        info!("{here} (in the other dialect: {there})");
    }
    let trains = settings.top.child("trainer").is_some();
    let result = if trains {
        check_training(&settings, args)
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
        if args.no_data { ", its files not looked at" } else { "" }
    );
    Ok(())
}

fn check_training(settings: &CommandSettings<'_>, args: &cli::Check) -> Result<()> {
    let plan = TrainingPlan::read(&settings.top)?;
    doubtful_settings(&settings.top, &plan).iter().for_each(|line| warn!("{line}"));
    let device = settings.device.one()?;
    let estimate = Estimate::training(&plan);
    estimate.ensure(device)?;
    let network = plan.learner.network.clone();
    describe(&UNet::uninitialized(&network, Kind::Float, Device::Cpu)?);
    if plan.data.patch().is_some() {
        estimate.describe(device);
    }
    if args.no_data {
        return Ok(());
    }
    let beginning = check_beginning(&plan.trainer)?;
    let seed = plan.learner.seed;
    let mut drawn = seed.unwrap_or(0);
    let mut learner = None;
    if beginning != Beginning::Fresh || args.time {
        let device = if args.time { device } else { Device::Cpu };
        let mut begun = Learner::new(plan.learner, device)?;
        let heritage = begun.begin(&beginning, &plan.configuration, seed)?;
        heritage.check_step(begun.step, &plan.trainer)?;
        drawn = begun.progress.seed;
        learner = Some(begun);
    }
    let division = Division { batches: plan.trainer.accumulate, ..Division::NONE };
    let data = plan.data.open(&network, &plan.criteria, (drawn, division))?;
    for (name, loader) in [("training", &data.train), ("validation", &data.val)] {
        info!(
            "{} {name} patches, {} batches an epoch, {} worker(s)",
            loader.data().len(),
            loader.batches_per_epoch(),
            loader.workers()
        );
    }
    let classes = network.out_channels as usize;
    let mut findings = Findings::default();
    let looked = look_at_training(&settings.top, classes, &plan.criteria, &data, &mut findings);
    findings.notes.iter().for_each(|line| info!("{line}"));
    findings.warnings.iter().for_each(|line| warn!("{line}"));
    looked?;
    if let Some(mut learner) = learner.filter(|_| args.time) {
        let forecast = forecast(&mut learner, &plan.criteria, &data, &plan.trainer)?;
        info!(
            "{} an iteration, {} iterations, {} validations of {}: {} here",
            in_words(forecast.iteration),
            forecast.iterations,
            forecast.validations,
            in_words(forecast.validation),
            in_words(forecast.all())
        );
    }
    Ok(())
}

/// How the run would begin without flags. Where it needs one of them because of an
/// earlier run, that is a warning: which one it will be is not known here.
fn check_beginning(spec: &TrainerSpec) -> Result<Beginning> {
    let directory = &spec.checkpoint_dir;
    if let Err(error) = refuse_running(directory) {
        warn!("{error:#}");
        return Ok(Beginning::Fresh);
    }
    check_directory(directory)?;
    let start = match Start::find(spec, Wish::None) {
        Ok(start) => start,
        Err(error) => {
            Start::find(spec, Wish::Overwrite)?;
            warn!("{error}");
            return Ok(Beginning::Fresh);
        }
    };
    start.announce();
    Ok(start.beginning)
}

fn check_prediction(settings: &CommandSettings<'_>, no_data: bool) -> Result<()> {
    let top = &settings.top;
    if PREDICTORS.open(&top.node.section_or_empty("predictor"))?.0.whole_images {
        let plan = ImagePlan::read(top, false)?;
        let net = UNet::uninitialized(&plan.network, Kind::Float, Device::Cpu)?;
        describe(&net);
        if !no_data {
            info!("{} images", plan.files()?.len());
            net.load_checkpoint(&plan.model_path)?;
        }
        return Ok(());
    }
    let plan = PredictionPlan::read(top)?;
    let stage = stage(&settings.top, 1)?;
    let devices = settings.device.all()?;
    let files = if no_data { Vec::new() } else { plan.files()? };
    stage.iter().try_for_each(|stage| stage.check(&files))?;
    let estimate = Estimate::prediction(&plan);
    devices.iter().try_for_each(|device| estimate.ensure(*device))?;
    let net = UNet::uninitialized(&plan.network, Kind::Float, Device::Cpu)?;
    describe(&net);
    if let Some(device) = devices.first() {
        estimate.describe(*device);
    }
    if no_data {
        return Ok(());
    }
    let path = plan.checkpoint()?;
    net.load_checkpoint(path)?;
    info!("{}: fits the network", path.display());
    warn_of_contradiction(path, top.node);
    let folders: BTreeSet<_> = files.iter().filter_map(|pair| pair.output.parent()).collect();
    for folder in folders {
        check_writable(folder).with_context(|| {
            format!("{}: predictions cannot be written there", folder.display())
        })?;
    }
    for file @ FilePair { input, .. } in &files {
        let raw = plan.open(input)?;
        let dataset = raw.reader;
        let tiling = plan.tile(&*dataset).with_context(|| input.display().to_string())?;
        plan.performance(file, raw.size)?;
        let look = look_at(&*dataset, MOST_VOXELS)?;
        let (values, warning) =
            describe_input(&look, &plan.try_transforms(&*dataset, &look.statistics)?);
        info!(
            "{}: {:?} {}, {} patches, {values}",
            input.display(),
            dataset.shape(),
            dataset.element().name(),
            tiling.patch_count()
        );
        if let Some(warning) = warning {
            warn!("{}: {warning}", input.display());
        }
    }
    Ok(())
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
        net.parameter_count() as f64 * 4.0 / GIB
    );
}
