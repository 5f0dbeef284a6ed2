//! HDF5 files that are made in memory and then written in one piece.
//!
//! The library may crash when it closes a file whose last blocks it could not write, as on
//! a full disk, so it does not get to write small files itself.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};

use super::writer::failure;
use crate::ffi;
use crate::files::PartialFile;

/// Bytes by which the file grows in memory.
const STEP: usize = 4 << 20;

/// An HDF5 file in memory.
pub struct MemoryFile(hdf5::File);

impl MemoryFile {
    /// Begins an empty file.
    ///
    /// # Errors
    /// A library that does not work.
    pub fn create() -> Result<MemoryFile> {
        // The library takes two files of one name for the same, and looks whether there is a
        // file of that name, which below a device cannot be.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("/dev/null/{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let file = hdf5::File::with_options()
            .with_fapl(|plist| plist.core_options(STEP, false))
            .create(name)?;
        Ok(MemoryFile(file))
    }

    /// The file, to put data sets into.
    pub fn hdf5(&self) -> &hdf5::File {
        &self.0
    }

    /// Writes the file beside `target`, where it waits for its name.
    ///
    /// # Errors
    /// A folder that does not exist or cannot be written, a full disk.
    pub fn into_partial(self, target: &Path) -> Result<PartialFile> {
        let write = || -> Result<PartialFile> {
            let bytes = ffi::hdf5::file_image(&self.0)?;
            let partial = PartialFile::create(target).context("no file can be written there")?;
            partial.file().write_all(&bytes)?;
            Ok(partial)
        };
        write().map_err(|error| failure(target, error))
    }

    /// Writes the file under its name, which must be a new one.
    ///
    /// # Errors
    /// As [`MemoryFile::into_partial`], and a file of that name.
    pub fn write_new(self, target: &Path) -> Result<()> {
        let partial = self.into_partial(target)?;
        partial.keep_new().map_err(|error| failure(target, error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_made_in_memory_are_read_from_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let made = [1u16, 2].map(|value| {
            let file = MemoryFile::create().unwrap();
            let values = vec![value; 100_000];
            let builder = file.hdf5().new_dataset_builder().with_data(&values);
            builder.chunk(1000).deflate(1).create("values").unwrap();
            (file, values)
        });
        for (number, (file, values)) in made.into_iter().enumerate() {
            let path = folder.path().join(format!("{number}.h5"));
            file.write_new(&path).unwrap();
            let read = hdf5::File::open(&path).unwrap().dataset("values").unwrap();
            assert_eq!(read.read_raw::<u16>().unwrap(), values);
            let error = MemoryFile::create().unwrap().write_new(&path).unwrap_err();
            assert!(error.to_string().contains("exists"), "{error}");
        }
    }
}
