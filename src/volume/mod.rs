//! Volumes: arrays of voxels (D, H, W) or (C, D, H, W), the forms they are held
//! in, and what file formats offer of those in files.

mod array;
pub mod calibration;
mod compact;
mod mirror;
mod read_compact;
mod reader;
mod sample;
mod shape;
mod source;
mod statistics;
mod stored_type;
pub(crate) mod tiles;
mod voxels;
mod window;
mod writer;

pub use array::{Element, Values, Volume};
pub use calibration::{Calibration, LengthUnit};
pub use compact::{OneHot, Palette};
pub use mirror::Mirror;
pub use reader::{VolumeFile, VolumeReader};
pub use sample::{Sample, Statistics};
pub use shape::VolumeShape;
pub use source::{Access, Source};
pub use statistics::StatisticsBuilder;
pub use stored_type::StoredType;
pub use voxels::Voxels;
pub use window::Window;
pub use writer::{
    Block, BlockWriter, Compression, DiskFull, Edition, Encoding, NewVolume, SharedEnd, SharedSpec,
    SharedWriter, VolumeId, VolumeWriter,
};
