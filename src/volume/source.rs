//! Where the patches of a volume are cut from: memory or a file.

use std::sync::Arc;

use anyhow::Result;

use super::{Dataset, Element, Mirror, OneHot, Packed, Palette, Volume, Window};

/// A volume that patches are cut from. Cloning it copies no voxel.
#[derive(Clone, Debug)]
pub enum Source {
    /// Held in memory, in the element type of the file.
    Memory(Arc<Volume>),
    /// Held in memory as the class of each voxel.
    OneHot(Arc<OneHot>),
    /// Held in memory as the column of each voxel.
    Palette(Arc<Palette>),
    /// Read piece by piece.
    File(Dataset),
}

impl From<Volume> for Source {
    fn from(volume: Volume) -> Self {
        Source::Memory(Arc::new(volume))
    }
}

impl Source {
    pub fn channels(&self) -> usize {
        match self {
            Source::Memory(volume) => volume.channels(),
            Source::OneHot(label) => label.classes,
            Source::Palette(palette) => palette.channels(),
            Source::File(dataset) => dataset.channels(),
        }
    }

    /// Depth, height, width.
    pub fn size(&self) -> [usize; 3] {
        match self {
            Source::Memory(volume) => volume.size(),
            Source::OneHot(label) => label.size(),
            Source::Palette(palette) => palette.size(),
            Source::File(dataset) => dataset.size(),
        }
    }

    pub fn has_channels(&self) -> bool {
        match self {
            Source::Memory(volume) => volume.has_channels,
            Source::OneHot(_) | Source::Palette(_) => true,
            Source::File(dataset) => dataset.has_channels(),
        }
    }

    /// (D, H, W) or (C, D, H, W).
    pub fn shape(&self) -> Vec<usize> {
        let channels = self.has_channels().then(|| self.channels());
        channels.into_iter().chain(self.size()).collect()
    }

    pub fn element(&self) -> Element {
        match self {
            Source::Memory(volume) => volume.element(),
            Source::OneHot(label) => label.element,
            Source::Palette(palette) => palette.element(),
            Source::File(dataset) => dataset.element(),
        }
    }

    /// How many z to read at a time, so that no chunk of a file is read twice.
    pub fn layer(&self) -> usize {
        match self {
            Source::File(dataset) => dataset.chunk_shape().map_or(1, |[_, depth, ..]| depth),
            _ => 1,
        }
    }

    /// Bytes that the source keeps in memory.
    pub fn bytes_held(&self) -> usize {
        match self {
            Source::Memory(volume) => volume.bytes(),
            Source::OneHot(label) => label.bytes(),
            Source::Palette(palette) => palette.bytes(),
            Source::File(_) => 0,
        }
    }

    /// The voxels of a window, all channels.
    ///
    /// # Panics
    /// If the window reaches out of the volume.
    pub fn window(&self, window: &Window) -> Result<Volume> {
        Ok(self.packed(window)?.expand())
    }

    /// The voxels of a window in the form in which the source holds them.
    ///
    /// # Panics
    /// If the window reaches out of the volume.
    pub fn packed(&self, window: &Window) -> Result<Packed> {
        Ok(match self {
            Source::Memory(volume) => Packed::Dense(volume.window(window)),
            Source::OneHot(label) => Packed::OneHot(label.window(window)),
            Source::Palette(palette) => Packed::Palette(palette.window(window)),
            Source::File(dataset) => Packed::Dense(dataset.read_window(window)?),
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
