//! Volumes: arrays of voxels, the raw/label/weight sample, HDF5 in and out.

mod array;
mod sample;

pub use array::{Element, Values, Volume};
pub use sample::{Sample, Statistics};
