//! Reads an image, whatever its format.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::format;
use crate::volume::Volume;

/// Reads a volume (D, H, W) from a file of any format that is read; `dataset` names
/// the data set of an HDF5 file.
pub fn read_image(path: &Path, dataset: &str) -> Result<Volume> {
    let volume =
        format::read(path, dataset).with_context(|| format!("reading {}", path.display()))?;
    ensure!(
        volume.rank() == 3,
        "{} has the shape {:?}: a volume of one channel (D, H, W) is needed",
        path.display(),
        volume.shape()
    );
    Ok(volume)
}
