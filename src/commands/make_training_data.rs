//! `unet3d make-training-data`: labelled images to HDF5 files to train on.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use ndarray::{Array3, Axis};

use crate::report::Reporter;
use crate::training_data::{Pair, Weighting, pair, read_image, write};
use crate::volume::{Element, Values, Volume};

/// What `make-training-data` takes.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Folder of raw images (NRRD, TIFF or HDF5), or one image.
    #[arg(long, value_name = "DIR")]
    pub raw: PathBuf,
    /// Folder of label images of the same names: 0 unlabeled, 1 foreground,
    /// 2 background, 3 gap between cells.
    #[arg(long, value_name = "DIR")]
    pub label: PathBuf,
    /// Folder for the files to train on, one for each image.
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Data set with the image, in HDF5 files.
    #[arg(long, value_name = "NAME", default_value = "raw")]
    pub raw_dataset: String,
    /// Data set with the labels, in HDF5 files.
    #[arg(long, value_name = "NAME", default_value = "label")]
    pub label_dataset: String,
    /// Weight of foreground voxels.
    #[arg(long, value_name = "WEIGHT", default_value_t = 6.0, value_parser = number)]
    pub foreground: f64,
    /// Weight of gap voxels.
    #[arg(long, value_name = "WEIGHT", default_value_t = 10.0, value_parser = number)]
    pub gap: f64,
    /// Multiply the weight of a gap voxel by 1 + the foreground voxels next to it.
    #[arg(long)]
    pub scale_gaps: bool,
    /// How often the weight of background halves with each voxel from the
    /// foreground, within a slice.
    #[arg(long, value_name = "HALVINGS", default_value_t = 0.36, value_parser = number)]
    pub decay_xy: f64,
    /// The same from slice to slice.
    #[arg(long, value_name = "HALVINGS", default_value_t = 1.0, value_parser = number)]
    pub decay_z: f64,
}

fn number(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.0..f64::INFINITY).contains(&value) => Ok(value),
        _ => Err("a number from 0 upwards is needed".into()),
    }
}

/// Makes one training file for each pair of images.
pub fn make_training_data(options: &Options, reporter: &Reporter) -> Result<()> {
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

fn output(options: &Options, pair: &Pair) -> PathBuf {
    options.output.join(format!("{}.h5", pair.name))
}

fn make_one(options: &Options, pair: &Pair) -> Result<()> {
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
