//! Where the patches of a volume are cut from: memory or a file.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;

use anyhow::{Result, anyhow};

use super::reader::PART;
use super::{Element, Mirror, Palette, Statistics, Volume, VolumeReader, Voxels, Window};

/// A volume that patches are cut from. Cloning it copies no voxel.
#[derive(Clone, Debug)]
pub enum Source {
    /// Held in memory.
    Memory(Arc<Voxels>),
    /// Read piece by piece.
    File(Arc<dyn VolumeReader>),
}

/// Where the voxels of a file are kept while patches are cut from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The whole volume is read into memory at the start.
    Memory,
    /// Each patch is read from the file.
    File,
}

/// From so many channels on a compact form is looked for.
const MANY_CHANNELS: usize = 8;

impl From<Voxels> for Source {
    fn from(voxels: Voxels) -> Self {
        Source::Memory(Arc::new(voxels))
    }
}

impl From<Volume> for Source {
    fn from(volume: Volume) -> Self {
        Voxels::Dense(volume).into()
    }
}

impl Source {
    /// Opens raw data, and finds the statistics of all its voxels.
    ///
    /// # Errors
    /// A file that cannot be read, a voxel that is NaN or infinite.
    pub fn raw(reader: Arc<dyn VolumeReader>, access: Access) -> Result<(Source, Statistics)> {
        if access == Access::File {
            let statistics = reader.statistics()?;
            return Ok((Source::File(reader), statistics));
        }
        let volume = reader.read()?;
        let statistics =
            Statistics::of(&volume).map_err(|error| anyhow!("{}: {error}", reader.describe()))?;
        Ok((volume.into(), statistics))
    }

    /// Opens labels; in memory they are held by class if they are one-hot.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn label(reader: Arc<dyn VolumeReader>, access: Access) -> Result<Source> {
        if access == Access::File {
            return Ok(Source::File(reader));
        }
        if reader.channels() >= MANY_CHANNELS {
            if let Some(label) = reader.read_one_hot()? {
                return Ok(Voxels::OneHot(label).into());
            }
            log::info!(
                "{} is not one-hot and is held with all its {} channels",
                reader.describe(),
                reader.channels()
            );
        }
        Ok(reader.read()?.into())
    }

    /// Opens a weight map; in memory it is held by columns if there are few different
    /// ones.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn weight(reader: Arc<dyn VolumeReader>, access: Access) -> Result<Source> {
        if access == Access::File {
            return Ok(Source::File(reader));
        }
        if reader.channels() >= MANY_CHANNELS {
            if let Some(palette) = reader.read_palette()? {
                return Ok(Voxels::Palette(palette).into());
            }
            log::info!(
                "{} has more than {} different columns and is held with all its {} channels",
                reader.describe(),
                Palette::LIMIT,
                reader.channels()
            );
        }
        Ok(reader.read()?.into())
    }

    pub fn channels(&self) -> usize {
        match self {
            Source::Memory(voxels) => voxels.channels(),
            Source::File(reader) => reader.channels(),
        }
    }

    /// Depth, height, width.
    pub fn size(&self) -> [usize; 3] {
        match self {
            Source::Memory(voxels) => voxels.size(),
            Source::File(reader) => reader.size(),
        }
    }

    pub fn has_channels(&self) -> bool {
        match self {
            Source::Memory(voxels) => voxels.has_channels(),
            Source::File(reader) => reader.has_channels(),
        }
    }

    /// (D, H, W) or (C, D, H, W).
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Source::Memory(voxels) => voxels.shape(),
            Source::File(reader) => reader.shape(),
        }
    }

    pub fn element(&self) -> Element {
        match self {
            Source::Memory(voxels) => voxels.element(),
            Source::File(reader) => reader.element(),
        }
    }

    /// How many z to read at a time, so that no chunk of a file is read twice.
    pub fn layer(&self) -> usize {
        match self {
            Source::File(reader) => reader.chunk_shape().map_or(1, |[_, depth, ..]| depth),
            Source::Memory(_) => 1,
        }
    }

    /// Bytes that the source keeps in memory.
    pub fn bytes_held(&self) -> usize {
        match self {
            Source::Memory(voxels) => voxels.bytes(),
            Source::File(_) => 0,
        }
    }

    /// Calls `visit` with the volume part by part and with the voxel (c, z, y, x) at
    /// which each part begins, until it says that it has seen enough. What is held in a
    /// compact form is not visited.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn visit(
        &self,
        mut visit: impl FnMut(&Volume, [usize; 4]) -> ControlFlow<()>,
    ) -> Result<()> {
        let reader = match self {
            Source::Memory(voxels) => {
                if let Voxels::Dense(volume) = &**voxels {
                    let _ = visit(volume, [0; 4]);
                }
                return Ok(());
            }
            Source::File(reader) => reader,
        };
        let threads = thread::available_parallelism().map_or(1, |n| n.get());
        for (channels, window) in reader.tiles(PART) {
            let [z, y, x] = window.origin;
            let part = reader.read_part(channels.clone(), &window, threads)?;
            if visit(&part, [channels.start, z, y, x]).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The voxels of a window, all channels.
    ///
    /// # Panics
    /// If the window reaches out of the volume.
    pub fn window(&self, window: &Window) -> Result<Volume> {
        Ok(self.voxels(window)?.expand())
    }

    /// The voxels of a window in the form in which the source holds them.
    ///
    /// # Panics
    /// If the window reaches out of the volume.
    pub fn voxels(&self, window: &Window) -> Result<Voxels> {
        Ok(match self {
            Source::Memory(voxels) => voxels.window(window),
            Source::File(reader) => Voxels::Dense(reader.read_window(window)?),
        })
    }

    /// The voxels of a window of the mirror-padded volume, all channels.
    pub fn mirrored(&self, window: &Window, mirror: &Mirror) -> Result<Volume> {
        if mirror.is_none() {
            return self.window(window);
        }
        let (source, indices) = mirror.sources(window, self.size());
        Ok(self.window(&source)?.gather(&indices))
    }
}
