//! The list of all transforms: adding one adds one line here.

use crate::config::{ConfigError, Parameter, Section};
pub use crate::volume::Signature;

use super::Transform;
use super::transforms::ENTRIES;

impl Signature {
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

/// What a transform does to a volume, as far as other rooms need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Moves voxels: must be the same in the raw, label and weight lists.
    Geometric,
    /// Changes intensities: draws differ between data sets.
    Intensity,
    /// Turns one kind of value into another (boundaries, types).
    Conversion,
}

/// One transform: its name, its keys and how to make it.
pub struct Entry {
    pub name: &'static str,
    pub class: Class,
    /// What it does, for the documentation.
    pub meaning: &'static str,
    /// The keys that may stand beside `name`.
    pub parameters: &'static [Parameter],
    pub build: fn(&Section<'_>) -> Result<Box<dyn Transform>, ConfigError>,
    /// What comes out, or why this input cannot be taken.
    pub signature: fn(&Section<'_>, Signature) -> Result<Signature, ConfigError>,
}

/// The transform of that name.
pub fn entry(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().copied().find(|entry| entry.name == name)
}

/// All transforms, in the order of their names.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    let mut entries = ENTRIES.to_vec();
    entries.sort_unstable_by_key(|entry| entry.name);
    entries.into_iter()
}

pub fn names() -> impl Iterator<Item = &'static str> {
    entries().map(|entry| entry.name)
}
