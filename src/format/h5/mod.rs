//! HDF5 in and out.
//!
//! [`InputFile`] opens a file for reading, [`Dataset`] reads a volume or a
//! window of one. Chunks that are plain, shuffled or deflated are read from the
//! file directly and decoded by as many threads as there are; everything else
//! (lzf, big endian, virtual data sets, …) goes through the HDF5 library, which
//! serves one thread at a time.
//!
//! [`OutputFile`] writes volumes piece by piece. Chunks are compressed by
//! threads of their own and handed to HDF5 as they are to stand in the file, an
//! ordinary gzip data set to any reader.

mod chunk_rows;
mod compact;
mod dataset;
mod decode;
mod guard;
mod input;
mod output;
mod pool;
mod storage;
mod stored;
mod tiles;

pub use dataset::Dataset;
pub use input::InputFile;
pub use output::{Compression, DiskFull, Encoding, OutputFile, VolumeId};
