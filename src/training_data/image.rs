//! Reads an image, whatever its format.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use ndarray::{Array3, Axis};

use crate::format::{self, png};
use crate::volume::{Element, Values, Volume};

/// A volume as it is in its file.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    pub volume: Volume,
    /// Size of a voxel along z, y and x in micrometres, if the file tells.
    pub voxel_size: Option<[f64; 3]>,
}

/// Reads a volume (D, H, W) or (C, D, H, W) from a file of any format that is read, or a
/// grey PNG image as (1, H, W); `dataset` names the data set of an HDF5 file.
///
/// # Errors
/// A file that cannot be read.
pub fn read_image(path: &Path, dataset: &str) -> Result<Image> {
    let reading = || format!("reading {}", path.display());
    if is_png(path) {
        return Ok(Image { volume: png::read(path).with_context(reading)?, voxel_size: None });
    }
    let reader = format::open(path, dataset).with_context(reading)?;
    let volume = reader.read().with_context(reading)?;
    Ok(Image { volume, voxel_size: reader.voxel_size() })
}

/// Reads labels (D, H, W), whatever type they are stored in: programs save them as
/// integers of all sizes, and some as floats.
///
/// # Errors
/// A file that cannot be read, one with channels, and values that are no labels: with a
/// fraction, or not finite.
pub fn read_labels(path: &Path, dataset: &str) -> Result<Array3<i64>> {
    let volume = read_image(path, dataset)?.volume;
    ensure!(
        volume.channels() == 1,
        "{} has the shape {:?}: labels of one channel (D, H, W) are needed",
        path.display(),
        volume.shape()
    );
    if !volume.element().is_float() {
        let Values::I64(labels) = volume.cast(Element::I64).values else {
            unreachable!("a cast gives the type that was asked for")
        };
        return Ok(labels.index_axis_move(Axis(0), 0));
    }
    let Values::F64(values) = volume.cast(Element::F64).values else {
        unreachable!("a cast gives the type that was asked for")
    };
    let odd = values.iter().find(|value| value.fract() != 0.0 || value.abs() >= 1e15);
    if let Some(value) = odd {
        anyhow::bail!("{}: it holds the value {value}: labels are whole numbers", path.display());
    }
    Ok(values.index_axis_move(Axis(0), 0).mapv(|value| value as i64))
}

/// Whether a path names a PNG image, as Cellpose saves masks of 2D images.
fn is_png(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"))
}
