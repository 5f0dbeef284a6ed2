//! What a patch of a data set consists of, and what is known of its file.

use super::{Volume, Voxels};

/// Raw, label and weight of one patch; they see the same geometry.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub raw: Volume,
    pub label: Option<Voxels>,
    pub weight: Option<Voxels>,
}

/// Statistics of all raw voxels of a file, over all channels, in its own units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    pub min: f64,
    pub max: f64,
    pub mean: f64,
    /// Population standard deviation (divided by n).
    pub std: f64,
}
