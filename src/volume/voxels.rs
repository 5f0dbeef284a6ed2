//! A volume in memory, in whichever form takes the least of it.

use super::{Element, OneHot, Palette, Volume, Window};

/// The voxels of a volume in memory.
#[derive(Clone, Debug, PartialEq)]
pub enum Voxels {
    /// Every value, in the element type of the file.
    Dense(Volume),
    /// The class of each voxel.
    OneHot(OneHot),
    /// The column of each voxel.
    Palette(Palette),
}

impl From<Volume> for Voxels {
    fn from(volume: Volume) -> Self {
        Voxels::Dense(volume)
    }
}

impl Voxels {
    pub fn channels(&self) -> usize {
        match self {
            Voxels::Dense(volume) => volume.channels(),
            Voxels::OneHot(label) => label.classes,
            Voxels::Palette(palette) => palette.channels(),
        }
    }

    /// Depth, height, width.
    pub fn size(&self) -> [usize; 3] {
        match self {
            Voxels::Dense(volume) => volume.size(),
            Voxels::OneHot(label) => label.size(),
            Voxels::Palette(palette) => palette.size(),
        }
    }

    /// Whether the volume has a channel axis, as those that are held in a compact
    /// form always have.
    pub fn has_channels(&self) -> bool {
        match self {
            Voxels::Dense(volume) => volume.has_channels,
            Voxels::OneHot(_) | Voxels::Palette(_) => true,
        }
    }

    /// (D, H, W) or (C, D, H, W), as the volume it stands for has it.
    pub fn shape(&self) -> Vec<usize> {
        let channels = self.has_channels().then(|| self.channels());
        channels.into_iter().chain(self.size()).collect()
    }

    /// Element type of the volume it stands for.
    pub fn element(&self) -> Element {
        match self {
            Voxels::Dense(volume) => volume.element(),
            Voxels::OneHot(label) => label.element,
            Voxels::Palette(palette) => palette.element(),
        }
    }

    /// Bytes that it takes in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Voxels::Dense(volume) => volume.bytes(),
            Voxels::OneHot(label) => label.bytes(),
            Voxels::Palette(palette) => palette.bytes(),
        }
    }

    /// The voxels of a window, all channels, in the same form.
    ///
    /// # Panics
    /// If the window reaches out of the volume.
    pub fn window(&self, window: &Window) -> Voxels {
        match self {
            Voxels::Dense(volume) => Voxels::Dense(volume.window(window)),
            Voxels::OneHot(label) => Voxels::OneHot(label.window(window)),
            Voxels::Palette(palette) => Voxels::Palette(palette.window(window)),
        }
    }

    pub fn one_hot(&self) -> Option<&OneHot> {
        match self {
            Voxels::OneHot(label) => Some(label),
            _ => None,
        }
    }

    pub fn palette(&self) -> Option<&Palette> {
        match self {
            Voxels::Palette(palette) => Some(palette),
            _ => None,
        }
    }

    /// The volume with every value, as the file has it.
    pub fn expand(self) -> Volume {
        match self {
            Voxels::Dense(volume) => volume,
            Voxels::OneHot(label) => label.expand(),
            Voxels::Palette(palette) => palette.expand(),
        }
    }
}
