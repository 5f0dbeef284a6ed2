//! Volumes: arrays of voxels, the raw/label/weight sample, HDF5 in and out.

mod array;
mod compact;
mod mirror;
mod sample;
mod shape;
mod source;
mod statistics;
mod window;

pub use crate::format::h5::{Compression, Dataset, Encoding, InputFile, OutputFile, VolumeId};
pub use array::{Element, Values, Volume};
pub use compact::{OneHot, Packed, Palette};
pub use mirror::Mirror;
pub use sample::{Sample, Statistics};
pub use shape::VolumeShape;
pub use source::Source;
pub use statistics::StatisticsBuilder;
pub use window::Window;
