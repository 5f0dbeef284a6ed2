//! File formats of volumes, one a module: the only place that names a format.

mod contiguous;
pub mod h5;
mod nrrd;
pub mod nrrd_writer;
pub mod png;
mod positioned;
mod raw_array;
mod single;
mod standing;
mod stored;
mod tiff;
pub mod tiff_writer;

pub use standing::{MADE_BY, Mark, Standing, standing};

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use crate::files::{self, InputFile};
use crate::volume::{Volume, VolumeFile, VolumeReader, VolumeWriter};

/// Begins a file at a path, with that many threads for compression.
pub type CreateWriter = fn(&Path, usize) -> Result<Box<dyn VolumeWriter>>;

/// A file format of volumes.
pub struct Format {
    pub name: &'static str,
    /// What is read from it, in one sentence.
    pub meaning: &'static str,
    /// Extensions of its files, in lower case.
    pub extensions: &'static [&'static str],
    /// Whether a directory given in the place of files stands for its files of this
    /// format, too.
    pub in_directories: bool,
    /// Whether the content of a file is of this format.
    pub recognises: fn(&File) -> bool,
    pub open: fn(&Path) -> Result<Box<dyn VolumeFile>>,
    /// `None` if the format is read only.
    pub create: Option<CreateWriter>,
}

/// All file formats. The first is the one that results are written in.
pub static FORMATS: &[&Format] = &[&h5::ENTRY, &nrrd::ENTRY, &tiff::ENTRY];

/// Prepares the libraries of the formats. To be called before the first file is opened.
///
/// # Errors
/// A library that does not start.
pub fn start() -> Result<()> {
    h5::start()
}

/// Opens a file for reading, in the format of its content or, if that is none that
/// is known, of its extension.
///
/// # Errors
/// A file that is missing, no ordinary file, not readable, of no known format or
/// damaged. The message names its absolute path.
pub fn open_file(path: &Path) -> Result<Box<dyn VolumeFile>> {
    let input = InputFile::open(path, "a file of volumes")?;
    let by_content = FORMATS.iter().find(|format| (format.recognises)(&input.file));
    match by_content.or_else(|| FORMATS.iter().find(|format| format.has_extension_of(path))) {
        Some(format) => (format.open)(&input.path),
        None => {
            let names: Vec<_> = FORMATS.iter().map(|format| format.name).collect();
            bail!(
                "{}: not an HDF5 file, nor one of another format that is read; volumes are read \
                 from files of the formats {}",
                input.path.display(),
                names.join(", ")
            )
        }
    }
}

/// Opens a volume for reading. The name is that of the volume within the file; a file
/// of a format that does not name volumes has one volume, whatever the name.
///
/// # Errors
/// As [`open_file`], and a volume that is missing or damaged.
pub fn open(path: &Path, name: &str) -> Result<Arc<dyn VolumeReader>> {
    open_file(path)?.volume(name)
}

/// Extensions of the files of all formats, in lower case.
pub fn extensions() -> Vec<&'static str> {
    FORMATS.iter().flat_map(|format| format.extensions).copied().collect()
}

/// Reads a whole volume. As for [`open`], the name is that within the file.
///
/// # Errors
/// As [`open`], and a file that cannot be read.
pub fn read(path: &Path, name: &str) -> Result<Volume> {
    open(path, name)?.read()
}

/// Begins a file of results, with that many threads for compression. It is HDF5.
///
/// # Errors
/// A directory that does not exist or cannot be written, a full disk.
pub fn create(path: &Path, threads: usize) -> Result<Box<dyn VolumeWriter>> {
    let create = FORMATS.iter().find_map(|format| format.create);
    create.context("no format can be written")?(path, threads)
}

/// The files of a directory that hold volumes, in natural order (t2 before t10):
/// its HDF5 files, or, if it has none, those of all other formats. Images that lie
/// beside HDF5 files are most often what these were made from, or of.
pub fn list(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let of = |formats: &[&Format]| {
        files::list(directory, |extension| {
            formats
                .iter()
                .any(|format| format.in_directories && format.extensions.contains(&extension))
        })
    };
    let (first, others) = FORMATS.split_at(1);
    match of(first)? {
        found if found.is_empty() => of(others),
        found => Ok(found),
    }
}

/// The extensions of files for which a directory stands, as in "*.h5, *.hdf or
/// *.hdf5".
pub fn patterns() -> String {
    let patterns: Vec<_> = FORMATS
        .iter()
        .filter(|format| format.in_directories)
        .flat_map(|format| format.extensions)
        .map(|extension| format!("*.{extension}"))
        .collect();
    match patterns.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, first)) => format!("{} or {last}", first.join(", ")),
        None => String::new(),
    }
}

impl Format {
    /// Whether the extension of a path is one of this format, in upper or lower case.
    pub fn has_extension_of(&self, path: &Path) -> bool {
        path.extension().is_some_and(|found| {
            self.extensions.iter().any(|known| found.eq_ignore_ascii_case(known))
        })
    }
}
