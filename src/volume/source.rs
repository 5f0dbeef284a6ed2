//! Where the patches of a volume are cut from: memory or a file.

use std::sync::Arc;

use anyhow::Result;

use super::{Element, Mirror, Volume, VolumeReader, Voxels, Window};

/// A volume that patches are cut from. Cloning it copies no voxel.
#[derive(Clone, Debug)]
pub enum Source {
    /// Held in memory.
    Memory(Arc<Voxels>),
    /// Read piece by piece.
    File(Arc<dyn VolumeReader>),
}

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
