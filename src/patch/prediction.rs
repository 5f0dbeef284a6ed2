//! The patches of one file that a network is to be run on.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Window;
use super::loaders::Loaders;
use super::slices::{Draw, SliceBuilder, Targets};
use super::volumes::open_raw;
use crate::augment::Recipe;
use crate::augment::stream::SampleKey;
use crate::volume::{InputFile, Mirror, Signature, Source, Statistics, Volume};

/// A file opened for prediction: its raw data, mirror padded, in patches.
///
/// Dropping it frees the volume; a run holds only the files it works on.
pub struct PredictionInput {
    path: PathBuf,
    raw: Source,
    mirror: Mirror,
    statistics: Statistics,
    windows: Vec<Window>,
    patch: [usize; 3],
}

impl PredictionInput {
    /// Opens a file. `LazyHDF5Dataset` reads patches when they are asked for,
    /// everything else holds the volume in memory.
    ///
    /// # Errors
    /// A file that is missing or broken, that holds NaN or infinite values, that
    /// a transform cannot work on or that the patch does not fit.
    pub fn open(
        path: &Path,
        loaders: &Loaders<'_>,
        builder: &dyn SliceBuilder,
        recipe: &Recipe,
    ) -> Result<PredictionInput> {
        let raw = InputFile::open(path)?.dataset(loaders.raw)?;
        let (raw, statistics) = open_raw(raw, loaders.dataset)?;
        recipe.check_statistics(&statistics).with_context(|| path.display().to_string())?;
        let mirror = Mirror { pad: loaders.mirror_padding };
        let size = mirror.padded(raw.size());
        let targets = Targets { path, size, label: None, weight: None };
        let windows = builder.windows(&targets, &Draw::default())?;
        let (path, patch) = (path.to_path_buf(), builder.patch());
        Ok(PredictionInput { path, raw, mirror, statistics, windows, patch })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Depth, height and width of the volume in the file.
    pub fn size(&self) -> [usize; 3] {
        self.raw.size()
    }

    /// Depth, height and width with the mirror padding, which is what the
    /// windows lie in.
    pub fn padded_size(&self) -> [usize; 3] {
        self.mirror.padded(self.raw.size())
    }

    /// Voxels mirrored at each side of z, y and x.
    pub fn padding(&self) -> [usize; 3] {
        self.mirror.pad
    }

    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The patches in slice order.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// What the patches look like before they are transformed.
    pub fn signature(&self) -> Signature {
        Signature {
            channels: self.raw.has_channels().then(|| self.raw.channels()),
            element: self.raw.element(),
            sizes: vec![self.patch],
        }
    }

    /// Cuts out the patch of that number and transforms it. Transforms that draw
    /// at random draw by `seed` and the number.
    pub fn patch(&self, number: usize, recipe: &Recipe, seed: u64) -> Result<Volume> {
        let window = &self.windows[number];
        let key = SampleKey { seed, epoch: 0, sample: number as u64 };
        self.raw
            .mirrored(window, &self.mirror)
            .and_then(|raw| recipe.apply_raw(raw, key, &self.statistics))
            .with_context(|| format!("{}, patch {window}", self.path.display()))
    }
}
