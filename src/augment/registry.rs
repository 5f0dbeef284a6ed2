//! The list of all transforms: adding one adds one line here.

use crate::config::{ConfigError, Parameter, Section};
pub use crate::volume::Signature;

use super::Transform;

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
    pub parameters: &'static [Parameter],
    pub build: fn(&Section<'_>) -> Result<Box<dyn Transform>, ConfigError>,
    /// What comes out, or why this input cannot be taken.
    pub signature: fn(&Section<'_>, Signature) -> Result<Signature, ConfigError>,
}

static ENTRIES: &[&Entry] = &[];

/// The transform of that name.
pub fn entry(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().copied().find(|entry| entry.name == name)
}

pub fn names() -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().map(|entry| entry.name)
}
