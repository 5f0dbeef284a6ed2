//! Writes one training file.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use hdf5::{File, H5Type};
use ndarray::{ArrayView3, Axis};

use super::Labelled;
use crate::files::PartialFile;
use crate::volume::Volume;
use crate::with_values;

/// Edges of the chunks that volumes are stored in, at most, (z, y, x): small enough
/// that a patch reads little more than itself.
const CHUNK: [usize; 3] = [16, 64, 64];

/// Writes `raw` (in its own type), `label` (uint8) and `weight` (float32), each
/// (D, H, W) and gzipped. The file appears whole or not at all, and never in the
/// place of another.
pub fn write(path: &Path, raw: &Volume, labelled: &Labelled) -> Result<()> {
    ensure!(
        !path.exists(),
        "{} is there already: remove it or choose another output folder",
        path.display()
    );
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut partial = PartialFile::create(path)
        .with_context(|| format!("{} cannot be written to", folder.display()))?;
    {
        let file = partial.open_again(|path| File::create(path))??;
        with_values!(&raw.values, a => add(&file, "raw", a.index_axis(Axis(0), 0)))?;
        add(&file, "label", labelled.label.view())?;
        add(&file, "weight", labelled.weight.view())?;
        file.close()?;
    }
    partial.keep_new().with_context(|| format!("{} cannot be written", path.display()))
}

fn add<T: H5Type>(file: &File, name: &str, values: ArrayView3<T>) -> Result<()> {
    let (d, h, w) = values.dim();
    let chunk = (CHUNK[0].min(d), CHUNK[1].min(h), CHUNK[2].min(w));
    file.new_dataset_builder().with_data(values).chunk(chunk).shuffle().deflate(4).create(name)?;
    Ok(())
}
