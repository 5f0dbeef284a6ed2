//! HDF5 in and out.
//!
//! [`H5File`] opens a file for reading, [`H5Reader`] reads a volume or a window of
//! one. Chunks that are plain, shuffled or deflated are read from the file directly
//! and decoded by as many threads as there are; everything else (lzf, big endian,
//! virtual data sets, …) goes through the HDF5 library, which serves one thread at
//! a time.
//!
//! [`H5Writer`] writes volumes piece by piece. Chunks are compressed by threads of
//! their own and handed to HDF5 as they are to stand in the file, an ordinary gzip
//! data set to any reader.

mod arrays;
mod checksum;
mod chunk_rows;
mod decode;
mod file;
mod filters;
mod guard;
mod in_memory;
mod planes;
mod pool;
mod reader;
mod standing;
mod storage;
mod stored_type;
mod writer;

pub use arrays::{ArrayFile, Channels, read_texts};
pub use file::H5File;
pub use in_memory::MemoryFile;
pub use planes::{Plane, planes};
pub use reader::H5Reader;
pub use standing::{holds_only_gzipped, holds_only_planes};
pub use writer::H5Writer;

use std::env;
use std::ffi::CStr;

use anyhow::{Result, ensure};

use super::{Format, ReadOptions, SCALE};
use crate::ffi;

/// Folder of filters that are not built in, unless `HDF5_PLUGIN_PATH` names another: the
/// library's own default.
const PLUGINS: &CStr = c"/usr/local/hdf5/lib/plugin";

/// Takes the folder in which the library was built from those that it searches for
/// filters.
pub(super) fn start() -> Result<()> {
    match env::var_os("HDF5_PLUGIN_PATH") {
        Some(_) => Ok(()),
        None => Ok(ffi::hdf5::set_plugin_folder(PLUGINS)?),
    }
}

pub(super) static ENTRY: Format = Format {
    name: "HDF5",
    meaning: "data sets (D, H, W) or (C, D, H, W), as h5py writes them",
    extensions: &["h5", "hdf", "hdf5", "hd5"],
    in_directories: true,
    recognises: file::recognises,
    is_store: |_| false,
    open: |path, options| {
        ensure!(
            *options == ReadOptions::default(),
            "{}: the axes of HDF5 data sets are (D, H, W) or (C, D, H, W); they cannot be chosen",
            path.display()
        );
        Ok(Box::new(H5File::open(path)?))
    },
    create: Some(|path, threads| Ok(Box::new(H5Writer::create(path, threads)?))),
    create_blocks: None,
    shared: None,
    holds: |_| true,
    most_volumes: usize::MAX,
    standing: standing::standing,
};

/// Attribute of a data set: the size of a voxel along z, y and x in micrometres, as
/// ilastik and PlantSeg name it.
pub const ELEMENT_SIZE: &str = "element_size_um";

/// Attribute of a file that [`H5Writer`] wrote: the [`checksum`] of its voxels.
const CHECKSUM: &str = "checksum";

/// Attributes of a data set for what [`ELEMENT_SIZE`] has no room for: the place of the
/// first voxel (z, y, x) in micrometres, the directions of the axes z, y and x, (3, 3)
/// along z, y and x, and names of the channels, one a line.
const ORIGIN: &str = "origin_um";
const DIRECTIONS: &str = "directions";
const CHANNELS: &str = "channel_names";
