//! Small 2D results as HDF5 files, written at once.

use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result};
use hdf5::types::VarLenUnicode;
use ndarray::Array2;

use super::checksum::Checksum;
use super::{CHECKSUM, MemoryFile};
use crate::ffi;
use crate::files::PartialFile;
use crate::format::MADE_BY;

/// A data set (H, W).
pub enum Plane {
    /// float32
    Probabilities(Array2<f32>),
    /// uint16
    Labels(Array2<u16>),
}

/// Makes a file with data sets (H, W), compressed as h5py's `compression="gzip"`, with the
/// mark by which the command that it names knows it again. The file waits for its name.
///
/// # Errors
/// A directory that cannot be written, a full disk.
pub fn planes(path: &Path, planes: &[(&str, Plane)], made_by: &str) -> Result<PartialFile> {
    let make = || -> Result<MemoryFile> {
        let file = MemoryFile::create()?;
        let hdf5 = file.hdf5();
        for (name, plane) in planes {
            let builder = hdf5.new_dataset_builder().deflate(4);
            match plane {
                Plane::Probabilities(array) => builder.with_data(array).create(*name)?,
                Plane::Labels(array) => builder.with_data(array).create(*name)?,
            };
        }
        let bytes = ffi::hdf5::file_image(hdf5)?;
        let read = |address: u64, size: u64| -> Result<Vec<u8>> {
            let (start, size) = (usize::try_from(address)?, usize::try_from(size)?);
            let part = bytes.get(start..).and_then(|rest| rest.get(..size));
            Ok(part.context("a chunk has no place")?.to_vec())
        };
        let checksum = Checksum::of(hdf5, &read, &hdf5.member_names()?)?.text();
        for (name, text) in [(MADE_BY, made_by), (CHECKSUM, checksum.as_str())] {
            let text = VarLenUnicode::from_str(text)?;
            hdf5.new_attr::<VarLenUnicode>().create(name)?.write_scalar(&text)?;
        }
        Ok(file)
    };
    let file = make().with_context(|| format!("{}: cannot be made", path.display()))?;
    file.into_partial(path)
}
