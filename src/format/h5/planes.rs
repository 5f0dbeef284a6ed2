//! Small 2D results as HDF5 files, written at once.

use std::path::Path;

use anyhow::{Context, Result};
use ndarray::Array2;

use super::writer::create_again;
use crate::files::PartialFile;

/// A data set (H, W).
pub enum Plane {
    /// float32
    Probabilities(Array2<f32>),
    /// uint16
    Labels(Array2<u16>),
}

/// Writes a file with data sets (H, W), compressed as h5py's `compression="gzip"`. It
/// appears whole or not at all.
///
/// # Errors
/// A directory that cannot be written, a full disk.
pub fn write_planes(path: &Path, planes: &[(&str, Plane)]) -> Result<()> {
    let context = || format!("{}: cannot be written", path.display());
    let mut partial = PartialFile::create(path).with_context(context)?;
    let file = create_again(&mut partial).with_context(context)?;
    for (name, plane) in planes {
        let builder = file.new_dataset_builder().deflate(4);
        match plane {
            Plane::Probabilities(array) => builder.with_data(array).create(*name),
            Plane::Labels(array) => builder.with_data(array).create(*name),
        }
        .with_context(context)?;
    }
    file.close().with_context(context)?;
    partial.replace().with_context(context)
}
