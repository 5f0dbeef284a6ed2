//! Volumes: arrays of voxels, the raw/label/weight sample, HDF5 in and out.

mod array;
pub mod h5;
mod mirror;
mod sample;
<<<<<<< HEAD
mod signature;
=======
mod source;
>>>>>>> 152f981 (Find the patches of a volume: slice builders, file_paths)
mod statistics;
mod window;

pub use array::{Element, Values, Volume};
pub use h5::{Dataset, InputFile};
pub use mirror::Mirror;
pub use sample::{Sample, Statistics};
<<<<<<< HEAD
pub use signature::Signature;
=======
pub use source::Source;
>>>>>>> 152f981 (Find the patches of a volume: slice builders, file_paths)
pub use statistics::StatisticsBuilder;
pub use window::Window;
