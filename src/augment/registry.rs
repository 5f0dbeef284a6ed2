//! What the registry of transforms holds of each of them.

use super::Transform;
use crate::config::{ConfigError, Entry, Parameter, Section};
use crate::volume::VolumeShape;

impl VolumeShape {
    /// Refuses channels for a transform that is defined for (D, H, W) alone.
    pub fn wants_3d(&self, section: &Section<'_>) -> Result<(), ConfigError> {
        match self.channels {
            None => Ok(()),
            Some(channels) => Err(section.node.error(format!(
                "works on volumes (D, H, W), but here it gets {channels} channels (C, D, H, W)"
            ))),
        }
    }

    /// The number of channels for a transform that is defined for (C, D, H, W) alone.
    pub fn wants_4d(&self, section: &Section<'_>) -> Result<usize, ConfigError> {
        self.channels.ok_or_else(|| {
            section.node.error(
                "works on volumes (C, D, H, W), but here it gets (D, H, W); \
                 store the data set with a channel axis or leave this transform out",
            )
        })
    }
}

/// What a transform does to a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransformClass {
    /// Moves voxels: must be the same in the raw, label and weight lists.
    Geometric,
    /// Changes intensities: draws differ between data sets.
    Intensity,
    /// Turns one kind of value into another (boundaries, types).
    Conversion,
}

/// One transform: its name, its keys and how to make it.
pub struct TransformEntry {
    pub name: &'static str,
    pub class: TransformClass,
    /// What it does, for the documentation.
    pub meaning: &'static str,
    /// The keys that may stand beside `name`.
    pub parameters: &'static [Parameter],
    pub build: fn(&Section<'_>) -> Result<Box<dyn Transform>, ConfigError>,
    /// What comes out, or why this input cannot be taken.
    pub output_shape: fn(&Section<'_>, VolumeShape) -> Result<VolumeShape, ConfigError>,
}

impl Entry for TransformEntry {
    fn name(&self) -> &'static str {
        self.name
    }

    fn meaning(&self) -> &'static str {
        self.meaning
    }

    fn parameters(&self) -> &'static [Parameter] {
        self.parameters
    }
}
