//! HDF5 in and out.
//!
//! [`InputFile`] opens a file for reading, [`Dataset`] reads a volume or a
//! window of one. Chunks that are plain, shuffled or deflated are read from the
//! file directly and decoded by as many threads as there are; everything else
//! (lzf, big endian, virtual data sets, …) goes through the HDF5 library, which
//! serves one thread at a time.

mod dataset;
mod decode;
mod input;
mod storage;
mod stored;

pub use dataset::Dataset;
pub use input::InputFile;
