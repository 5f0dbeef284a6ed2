//! Reads a volume in whichever format its name says.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{nrrd, tiff};
use crate::format;
use crate::volume::Volume;

/// Reads a volume (D, H, W) from an NRRD, TIFF or HDF5 file; `dataset` names the
/// data set of an HDF5 file.
pub fn read_image(path: &Path, dataset: &str) -> Result<Volume> {
    let format = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let volume = match format.as_str() {
        "nrrd" | "nhdr" => nrrd::read(path),
        "tif" | "tiff" => tiff::read(path),
        _ => format::open(path, dataset)?.read(),
    }
    .with_context(|| format!("reading {}", path.display()))?;
    ensure!(
        volume.rank() == 3,
        "{} has the shape {:?}: a volume of one channel (D, H, W) is needed",
        path.display(),
        volume.shape()
    );
    Ok(volume)
}
