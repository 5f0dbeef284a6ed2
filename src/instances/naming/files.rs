//! Region images, predictions and names in files.

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use ndarray::{Array2, ArrayView1};

use crate::files::read_text;
use crate::format::h5::{ArrayFile, read_texts};
use crate::regions::Runs;
use crate::volume::{Element, Values, VolumeReader, Window};

use super::give::UNKNOWN;
use super::matrix::{MatrixBuilder, MatrixPlan, NameMatrix, Strange};

/// The largest id that a region may have.
const LARGEST_ID: f64 = 16_777_216.0;

/// Bytes of the parts in which files are read.
const PART: usize = 32 << 20;

/// Reads a region image, slab by slab. Whole numbers in a float type are taken.
///
/// # Errors
/// Several channels, and values that are no ids: negative, fractions, or larger than
/// 2²⁴.
pub fn read_regions(reader: &dyn VolumeReader, threads: usize) -> Result<Runs> {
    ensure!(
        reader.channels() == 1,
        "{} has {} channels: a region image has one",
        reader.describe(),
        reader.channels()
    );
    let [depth, height, width] = reader.size();
    let chunk = reader.chunk_shape().map_or(1, |[_, depth, ..]| depth.max(1));
    let step = (PART / (height * width * 8).max(1) / chunk).max(1) * chunk;
    let mut runs = Runs::begin([depth, height, width]);
    for z in (0..depth).step_by(step) {
        let size = [step.min(depth - z), height, width];
        let part = reader.read_part(0..1, &Window::new([z, 0, 0], size), threads)?;
        let Values::F64(values) = part.cast(Element::F64).values else {
            unreachable!("a cast gives the type that was asked for")
        };
        if let Some(value) =
            values.iter().find(|v| !(0.0..=LARGEST_ID).contains(*v) || v.fract() != 0.0)
        {
            bail!(
                "{} holds the value {value}: regions are whole numbers from 0 to {LARGEST_ID}",
                reader.describe()
            );
        }
        let labels: Vec<u32> = values.iter().map(|value| *value as u32).collect();
        runs.append(Runs::of_labels(&labels, size));
    }
    Ok(runs)
}

/// Reads the names of the classes from 1 on: the data set of an HDF5 file, or the
/// lines of a text. Class 0 comes first, as UNKNOWN.
pub fn read_names(path: &Path, dataset: &str) -> Result<Vec<String>> {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let names = match extension.as_str() {
        "txt" | "csv" => read_text(path)?
            .lines()
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect(),
        _ => read_texts(path, dataset)?,
    };
    ensure!(!names.is_empty(), "{} has no names", path.display());
    Ok([UNKNOWN.to_owned()].into_iter().chain(names).collect())
}

/// Reads a matrix from predictions (1 + K, D, H, W) and their regions. The predictions
/// are read once, part by part; while one part is summed, the next is read.
///
/// # Errors
/// Sizes that differ, and another number of classes than `classes`.
pub fn read_matrix(
    predictions: &dyn VolumeReader,
    regions: &dyn VolumeReader,
    classes: usize,
    plan: MatrixPlan,
    threads: usize,
) -> Result<(NameMatrix, Strange)> {
    ensure!(
        predictions.size() == regions.size(),
        "{} is {:?} voxels large (z, y, x), {} {:?}: they have to be the same",
        predictions.describe(),
        predictions.size(),
        regions.describe(),
        regions.size()
    );
    ensure!(
        predictions.channels() == classes,
        "{} has {} classes, but there are {} names with UNKNOWN",
        predictions.describe(),
        predictions.channels(),
        classes
    );
    let scale = match predictions.element() {
        // Labels in the place of predictions are 0 and 1.
        Element::U8 if !is_one_hot(predictions)? => 1.0 / 255.0,
        Element::U16 => 1.0 / 65_535.0,
        _ => 1.0,
    };
    if scale != 1.0 {
        log::info!(
            "{}: stored as {}, scaled to probabilities",
            predictions.describe(),
            predictions.element().name()
        );
    }
    let runs = read_regions(regions, threads)?;
    let mut builder = MatrixBuilder::new(runs, classes, plan)?;
    let [_, height, _] = predictions.size();
    let (sender, parts) = sync_channel(1);
    thread::scope(|scope| -> Result<()> {
        scope.spawn(move || {
            for (channels, window) in predictions.tiles(PART) {
                let part = predictions.read_part(channels.clone(), &window, threads);
                let failed = part.is_err();
                if sender.send((channels, window, part)).is_err() || failed {
                    return;
                }
            }
        });
        for (channels, window, part) in parts {
            let mut part = part?.into_f32();
            if scale != 1.0 {
                part.mapv_inplace(|value| value * scale);
            }
            for (class, slices) in channels.zip(part.outer_iter()) {
                for (z, slice) in slices.outer_iter().enumerate() {
                    let row = (window.origin[0] + z) * height + window.origin[1];
                    builder.add(class, row, slice.as_slice().context("in one piece")?);
                }
            }
        }
        Ok(())
    })?;
    Ok(builder.finish())
}

/// Whether the first slice of every class holds nothing but 0 and 1.
fn is_one_hot(volume: &dyn VolumeReader) -> Result<bool> {
    let [depth, height, width] = volume.size();
    let middle = Window::new([depth / 2, 0, 0], [1, height, width]);
    let part = volume.read_part(0..volume.channels(), &middle, 1)?;
    Ok(part.into_f32().iter().all(|value| *value == 0.0 || *value == 1.0))
}

/// Writes a matrix: `ids`, `names`, `probabilities` (regions, classes), `contamination`
/// (rows of id, class and voxels) and `sizes` of the ids from 1 on.
pub fn write_matrix(path: &Path, matrix: &NameMatrix, names: &[String]) -> Result<()> {
    let file = ArrayFile::create(path)?;
    let ids: Vec<i64> = matrix.ids.iter().map(|id| i64::from(*id)).collect();
    file.array("ids", ArrayView1::from(&ids))?;
    file.texts("names", names)?;
    let values: Vec<f64> = matrix.probabilities.concat();
    file.array("probabilities", Array2::from_shape_vec((ids.len(), names.len()), values)?.view())?;
    let counts: Vec<[i64; 3]> = ids
        .iter()
        .zip(&matrix.contamination)
        .flat_map(|(id, counts)| {
            counts.iter().map(|(class, voxels)| [*id, *class as i64, *voxels as i64])
        })
        .collect();
    file.array(
        "contamination",
        Array2::from_shape_vec((counts.len(), 3), counts.concat())?.view(),
    )?;
    let sizes: Vec<i64> = matrix.sizes.iter().map(|size| *size as i64).collect();
    file.array("sizes", ArrayView1::from(&sizes))?;
    file.finish()
}
