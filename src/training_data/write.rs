//! Writes one training file, or one file to predict.

use std::path::Path;

use anyhow::{Result, ensure};
use hdf5::{File, H5Type};
use ndarray::{ArrayView3, ArrayView4, Axis};

use super::{Image, Labelled};
use crate::files::is_taken;
use crate::format::h5::{ELEMENT_SIZE, MemoryFile};
use crate::with_values;

/// Edges of the chunks that volumes are stored in, at most, (z, y, x): small enough
/// that a patch reads little more than itself.
const CHUNK: [usize; 3] = [16, 64, 64];

/// Writes `raw` (in its own type, (D, H, W) or (C, D, H, W)) and, of labelled images,
/// `label` (uint8) and `weight` (float32), each (D, H, W) and gzipped, with the size of a
/// voxel. The file appears whole or not at all, and never in the place of another.
pub fn write(path: &Path, raw: &Image, labelled: Option<&Labelled>) -> Result<()> {
    ensure!(
        !is_taken(path),
        "{} is there already: remove it or choose another output folder",
        path.display()
    );
    let made = MemoryFile::create()?;
    let place = Place { file: made.hdf5(), voxel_size: raw.voxel_size };
    with_values!(&raw.volume.values, a => match raw.volume.has_channels {
        true => place.add_channels("raw", a.view()),
        false => place.add("raw", a.index_axis(Axis(0), 0)),
    })?;
    if let Some(labelled) = labelled {
        place.add("label", labelled.label.view())?;
        place.add("weight", labelled.weight.view())?;
    }
    made.write_new(path)
}

struct Place<'a> {
    file: &'a File,
    voxel_size: Option<[f64; 3]>,
}

impl Place<'_> {
    fn add<T: H5Type>(&self, name: &str, values: ArrayView3<'_, T>) -> Result<()> {
        let (d, h, w) = values.dim();
        let chunk = (CHUNK[0].min(d), CHUNK[1].min(h), CHUNK[2].min(w));
        let builder = self.file.new_dataset_builder().with_data(values);
        self.finish(builder.chunk(chunk).shuffle().deflate(4).create(name)?)
    }

    fn add_channels<T: H5Type>(&self, name: &str, values: ArrayView4<'_, T>) -> Result<()> {
        let (_, d, h, w) = values.dim();
        let chunk = (1, CHUNK[0].min(d), CHUNK[1].min(h), CHUNK[2].min(w));
        let builder = self.file.new_dataset_builder().with_data(values);
        self.finish(builder.chunk(chunk).shuffle().deflate(4).create(name)?)
    }

    fn finish(&self, dataset: hdf5::Dataset) -> Result<()> {
        if let Some(size) = self.voxel_size {
            dataset.new_attr_builder().with_data(&size).create(ELEMENT_SIZE)?;
        }
        Ok(())
    }
}
