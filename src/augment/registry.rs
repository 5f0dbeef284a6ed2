//! The entries of the registry of transforms.

use super::Transform;
use crate::config::{ConfigError, Entry, Group, Parameter, Section};
use crate::volume::VolumeShape;

/// Why a transform cannot work on volumes of some shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeError {
    /// The key that is at fault; the whole section if `None`.
    pub key: Option<&'static str>,
    pub message: String,
}

impl From<String> for ShapeError {
    fn from(message: String) -> Self {
        ShapeError { key: None, message }
    }
}

impl VolumeShape {
    /// Refuses volumes with channels, for transforms that are defined for (D, H, W) only.
    pub fn wants_3d(&self) -> Result<(), ShapeError> {
        match self.channels {
            None => Ok(()),
            Some(channels) => Err(format!(
                "works on volumes (D, H, W), but here it gets {channels} channels (C, D, H, W)"
            )
            .into()),
        }
    }

    /// Refuses volumes (D, H, W), for transforms that are defined for (C, D, H, W) only.
    pub fn wants_4d(&self) -> Result<(), ShapeError> {
        match self.channels {
            Some(_) => Ok(()),
            None => Err("works on volumes (C, D, H, W), but here it gets (D, H, W); store the \
                         data set with a channel axis or leave this transform out"
                .to_string()
                .into()),
        }
    }
}

/// The kind of change that a transform makes to a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransformClass {
    /// Moves voxels; must be the same in the raw, label and weight lists.
    Geometric,
    /// Changes intensities; raw, label and weight draw different random numbers.
    Intensity,
    /// Converts values, for example labels to boundaries, or types.
    Conversion,
}

/// A transform that a configuration can name: name, keys and constructor.
pub struct TransformEntry {
    pub name: &'static str,
    pub class: TransformClass,
    /// What it does, for the documentation.
    pub meaning: &'static str,
    /// The keys beside `name`.
    pub parameters: &'static [Parameter],
    pub build: fn(&Section<'_>) -> Result<Box<dyn Transform>, ConfigError>,
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

    fn group(&self) -> Option<Group> {
        let (title, meaning) = match self.class {
            TransformClass::Geometric => (
                "Geometry",
                "They move voxels and belong into all lists of a phase, in the same order.",
            ),
            TransformClass::Intensity => (
                "Intensities",
                "They change values and give float32 (float64 stays); each data set has draws of \
                 its own.",
            ),
            TransformClass::Conversion => {
                ("Conversions", "They turn values of one kind into another.")
            }
        };
        Some(Group { title, meaning })
    }
}
