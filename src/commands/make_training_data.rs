//! `unet3d make-training-data`: labelled images to HDF5 files to train on.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use ndarray::{Array3, Axis};

use crate::cli;
use crate::runtime::report::Reporter;
use crate::training_data::{Pair, Weighting, pair, read_image, write};
use crate::volume::{Element, Values, Volume};

/// Makes one training file for each pair of images.
pub fn make_training_data(options: &cli::MakeTrainingData, reporter: &Reporter) -> Result<()> {
    let pairs = pair(&options.raw, &options.label)?;
    fs::create_dir_all(&options.output)
        .with_context(|| format!("making the folder {}", options.output.display()))?;
    // Found before the first file is written, not after the last but one.
    let taken: Vec<_> = pairs
        .iter()
        .map(|pair| output(options, pair))
        .filter(|path| path.exists())
        .map(|path| path.display().to_string())
        .collect();
    ensure!(
        taken.is_empty(),
        "nothing is overwritten: remove these or choose another --output:\n  {}",
        taken.join("\n  ")
    );
    let bar = reporter.bar(pairs.len() as u64, "images");
    for pair in &pairs {
        bar.set_message(pair.name.clone());
        make_one(options, pair)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    log::info!("{} files written to {}", pairs.len(), options.output.display());
    Ok(())
}

fn output(options: &cli::MakeTrainingData, pair: &Pair) -> PathBuf {
    options.output.join(format!("{}.h5", pair.name))
}

fn make_one(options: &cli::MakeTrainingData, pair: &Pair) -> Result<()> {
    let raw = read_image(&pair.raw, &options.raw_dataset)?;
    let label = read_image(&pair.label, &options.label_dataset)?;
    ensure!(
        raw.size() == label.size(),
        "{} is {:?} voxels large (z, y, x), {} {:?}: they have to be the same",
        pair.raw.display(),
        raw.size(),
        pair.label.display(),
        label.size()
    );
    let weighting = Weighting {
        foreground: options.foreground,
        gap: options.gap,
        scale_gaps: options.scale_gaps,
        decay_xy: options.decay_xy,
        decay_z: options.decay_z,
    };
    let labelled = painted(label)
        .and_then(|painted| weighting.apply(&painted))
        .with_context(|| pair.label.display().to_string())?;
    let [unlabeled, foreground, background, gap] = labelled.counts;
    if foreground == 0 || background + gap == 0 {
        log::warn!(
            "{} has {foreground} foreground and {} background voxels: nothing can be learned \
             from one of them alone",
            pair.label.display(),
            background + gap
        );
    }
    let path = output(options, pair);
    write(&path, &raw, &labelled)?;
    log::info!(
        "{}: {foreground} foreground, {background} background, {gap} gap, {unlabeled} unlabeled \
         voxels",
        path.display()
    );
    Ok(())
}

/// The labels as small integers, whatever type they are stored in.
fn painted(label: Volume) -> Result<Array3<u8>> {
    let Values::F64(values) = label.cast(Element::F64).values else {
        unreachable!("a cast gives the type that was asked for")
    };
    let values = values.index_axis_move(Axis(0), 0);
    if let Some(value) = values.iter().find(|v| !(0.0..=255.0).contains(*v) || v.fract() != 0.0) {
        bail!("the label image holds the value {value}: labels are 0, 1, 2 and 3");
    }
    Ok(values.mapv(|value| value as u8))
}
