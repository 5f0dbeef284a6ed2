//! Volumes: arrays of voxels, the raw/label/weight sample, HDF5 in and out.

mod array;
mod sample;
mod signature;

pub use array::{Element, Values, Volume};
pub use sample::{Sample, Statistics};
pub use signature::Signature;
