//! `unet3d make-training-data`: labelled images to HDF5 files to train on, or images
//! without labels to files to predict.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ndarray::Array3;

use crate::cli;
use crate::files::is_taken;
use crate::format;
use crate::runtime::report::Reporter;
use crate::training_data::{
    Pair, Weighting, images, lost, painted, pair, read_image, read_labels, write,
};

/// Makes one file for each pair of images, or each image.
pub fn make_training_data(options: &cli::MakeTrainingData, reporter: &Reporter) -> Result<()> {
    let pairs = match &options.label {
        Some(label) => pair(&options.raw, label)?,
        None => images(&options.raw)?,
    };
    fs::create_dir_all(&options.output)
        .with_context(|| format!("making the folder {}", options.output.display()))?;
    // Found before the first file is written, not after the last but one.
    let taken: Vec<_> = pairs
        .iter()
        .map(|pair| output(options, pair))
        .filter(|path| is_taken(path))
        .map(|path| path.display().to_string())
        .collect();
    ensure!(
        taken.is_empty(),
        "nothing is overwritten: remove these or choose another --output:\n  {}",
        taken.join("\n  ")
    );
    for pair in &pairs {
        format::check_new(&[&output(options, pair)])?;
    }
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
    let path = output(options, pair);
    let Some(label) = &pair.label else {
        write(&path, &raw, None)?;
        log::info!("{}: {:?}", path.display(), raw.volume.shape());
        return Ok(());
    };
    let values = read_labels(label, &options.label_dataset)?;
    let (depth, height, width) = values.dim();
    ensure!(
        raw.volume.size() == [depth, height, width],
        "{} is {:?} voxels large (z, y, x), {} {:?}: they have to be the same",
        pair.raw.display(),
        raw.volume.size(),
        label.display(),
        [depth, height, width]
    );
    let weighting = Weighting {
        foreground: options.foreground,
        gap: options.gap,
        scale_gaps: options.scale_gaps,
        decay_xy: options.decay_xy,
        decay_z: options.decay_z,
    };
    let classes = if options.instances { of_cells(&values, label) } else { small(&values) };
    let labelled = classes
        .and_then(|classes| weighting.apply(&classes))
        .with_context(|| label.display().to_string())?;
    let [unlabeled, foreground, background, gap] = labelled.counts;
    if foreground == 0 || background + gap == 0 {
        log::warn!(
            "{} has {foreground} foreground and {} background voxels: nothing can be learned \
             from one of them alone",
            label.display(),
            background + gap
        );
    }
    write(&path, &raw, Some(&labelled))?;
    log::info!(
        "{}: {foreground} foreground, {background} background, {gap} gap, {unlabeled} unlabeled \
         voxels",
        path.display()
    );
    Ok(())
}

/// The four labels of an image of numbered cells.
fn of_cells(cells: &Array3<i64>, path: &Path) -> Result<Array3<u8>> {
    let classes = painted(cells)?;
    let lost = lost(cells, &classes);
    if let Some(first) = lost.first() {
        log::warn!(
            "{}: {} cell(s) are too thin to leave foreground beside the gap to their neighbours, \
             the first is {first}",
            path.display(),
            lost.len()
        );
    }
    Ok(classes)
}

/// Painted labels as small numbers.
fn small(labels: &Array3<i64>) -> Result<Array3<u8>> {
    if let Some(label) = labels.iter().find(|label| !(0..=255).contains(*label)) {
        bail!(
            "the label image holds the value {label}: labels are 0, 1, 2 and 3; give --instances \
             if every cell has a number"
        );
    }
    Ok(labels.mapv(|label| label as u8))
}
