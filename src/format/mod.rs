//! File formats of volumes, one a module: the only place that names a format.

mod axes;
mod by_tiles;
mod contiguous;
mod encode;
pub mod h5;
mod headed;
mod metaimage;
mod names;
mod nifti;
mod notes;
mod nrrd;
pub mod nrrd_writer;
mod outputs;
mod pack;
mod pairs;
mod parallel;
pub mod png;
mod positioned;
mod raw_array;
mod single;
mod spool;
mod standing;
mod stored;
mod tiff;
mod zarr;

pub use standing::{MADE_BY, Mark, Standing, mentions, standing};

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use crate::files::{self, InputFile};
use crate::volume::{
    BlockWriter, Calibration, Compression, NewVolume, SharedSpec, SharedWriter, StoredType, Volume,
    VolumeFile, VolumeReader, VolumeWriter,
};

pub use axes::ReadOptions;
pub use names::{common_name, file_of, is_label_name, output_place, says_axes, stem};
pub use notes::VOLUME;
pub use outputs::{Inputs, check_distinct, check_new};
pub use pairs::pair;

/// Begins a file at a path, with that many threads for compression.
pub type CreateWriter = fn(&Path, usize) -> Result<Box<dyn VolumeWriter>>;

/// Begins a file of one volume that is written block by block.
pub type CreateBlocks = fn(&Path, &NewVolume<'_>, &Calibration) -> Result<Box<dyn BlockWriter>>;

/// Begins a file of volumes of one size that several processes write together, or goes on
/// with it.
pub type CreateShared =
    fn(&Path, &[NewVolume<'_>], &Calibration, &SharedSpec<'_>) -> Result<Box<dyn SharedWriter>>;

/// How several processes write a file together.
pub struct SharedStores {
    pub create: CreateShared,
    /// Removes what was left beside a complete file by a process that was stopped at the end.
    pub forget: fn(&Path),
}

/// A file format of volumes.
pub struct Format {
    pub name: &'static str,
    /// What is read from it, in one sentence.
    pub meaning: &'static str,
    /// Extensions of its files, in lower case; some of two parts.
    pub extensions: &'static [&'static str],
    /// Whether a directory given in the place of files stands for its files of this
    /// format, too.
    pub in_directories: bool,
    /// Whether the content of a file is of this format.
    pub recognises: fn(&File) -> bool,
    /// Whether a directory holds volumes in this format, and is no folder of files.
    pub is_store: fn(&Path) -> bool,
    pub open: fn(&Path, &ReadOptions) -> Result<Box<dyn VolumeFile>>,
    /// `None` if the format is read only.
    pub create: Option<CreateWriter>,
    /// `None` if parts of a file cannot be written apart from each other.
    pub create_blocks: Option<CreateBlocks>,
    /// `None` if one process writes a file.
    pub shared: Option<SharedStores>,
    /// Whether numbers of a type can be written.
    pub holds: fn(StoredType) -> bool,
    /// How many volumes a file holds at most.
    pub most_volumes: usize,
    /// What stands under the path of an existing file or store of the format.
    pub standing: fn(&Path, &Mark<'_>) -> Standing,
}

/// Attribute of a file whose bytes stand for probabilities: what leads back to them.
pub const SCALE: &str = "scale_factor";

/// All file formats. The first is the one of results whose input is in none of them, or in
/// one that is only read.
pub static FORMATS: &[&Format] =
    &[&h5::ENTRY, &nrrd::ENTRY, &tiff::ENTRY, &zarr::ENTRY, &nifti::ENTRY, &metaimage::ENTRY];

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
/// A path may end in choices: `v.tif:t=3` is the time point 3 of `v.tif`, and
/// `v.tif:axes=zyx` says what its axes are.
///
/// # Errors
/// A file that is missing, no ordinary file, not readable, of no known format or
/// damaged. The message names its absolute path.
pub fn open_file(path: &Path) -> Result<Box<dyn VolumeFile>> {
    open_file_with(path, &ReadOptions::default())
}

/// As [`open_file`], of axes that the path does not say.
pub fn open_file_with(path: &Path, options: &ReadOptions) -> Result<Box<dyn VolumeFile>> {
    let (path, options) = names::choices(path, options)?;
    open_exactly(&path, &options)
}

/// Opens a file whose path holds no choices.
fn open_exactly(path: &Path, options: &ReadOptions) -> Result<Box<dyn VolumeFile>> {
    if let Some(format) = FORMATS.iter().find(|format| (format.is_store)(path)) {
        return (format.open)(path, options);
    }
    let input = InputFile::open(path, "a file of volumes")?;
    let by_content = FORMATS.iter().find(|format| (format.recognises)(&input.file));
    match by_content.or_else(|| FORMATS.iter().find(|format| format.has_extension_of(path))) {
        Some(format) => (format.open)(&input.path, options),
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

/// Whether a directory holds volumes, and is no folder of files.
pub fn is_store(path: &Path) -> bool {
    FORMATS.iter().any(|format| (format.is_store)(path))
}

/// Removes what processes left beside a file that is complete, and wrote it together.
pub fn forget_unfinished(path: &Path) {
    if let Some(shared) = named(path).and_then(|format| format.shared.as_ref()) {
        (shared.forget)(path);
    }
}

/// The format that the extension of a path names.
pub fn named(path: &Path) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.has_extension_of(path)).copied()
}

/// Whether the content of a file is that of a format of volumes.
pub fn is_recognised(path: &Path) -> bool {
    path.is_file()
        && File::open(path)
            .is_ok_and(|file| FORMATS.iter().any(|format| (format.recognises)(&file)))
}

/// The format of a file or store: that of its content or, if that is none that is known,
/// of its extension.
pub fn of(path: &Path) -> Option<&'static Format> {
    let path = file_of(path);
    let store = FORMATS.iter().find(|format| (format.is_store)(&path));
    let by_content = || {
        let file = path.is_file().then(|| File::open(&path).ok())??;
        FORMATS.iter().find(|format| (format.recognises)(&file))
    };
    store.or_else(by_content).copied().or_else(|| named(&path))
}

/// Begins a file in the format that its extension names, HDF5 if it names none, with that
/// many threads for compression.
///
/// # Errors
/// A directory that does not exist or cannot be written, a full disk.
pub fn create(path: &Path, threads: usize) -> Result<Box<dyn VolumeWriter>> {
    let create = named(path).unwrap_or(&h5::ENTRY).create;
    create.with_context(|| format!("{}: the format is only read", path.display()))?(path, threads)
}

/// Whether a path names a file or a store, and no folder of files.
pub fn is_volume(path: &Path) -> bool {
    let file = file_of(path);
    file.is_file() || is_store(&file)
}

/// The files and stores of a directory that hold volumes, in natural order (t2 before
/// t10): its HDF5 files, or, if it has none, those of all other formats. Images that lie
/// beside HDF5 files are most often what these were made from, or of.
pub fn list(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let (first, others) = FORMATS.split_at(1);
    match list_of(directory, |path| of_formats(first, path, false))? {
        found if found.is_empty() => list_of(directory, |path| of_formats(others, path, false)),
        found => Ok(found),
    }
}

/// The files and stores of a directory of any format, their extensions in upper or lower
/// case, in natural order.
pub fn images(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    list_of(directory, |path| of_formats(FORMATS, path, true))
}

fn list_of(directory: &Path, wanted: impl Fn(&Path) -> bool) -> std::io::Result<Vec<PathBuf>> {
    files::list_paths(directory, |path| wanted(path) && (path.is_file() || is_store(path)))
}

fn of_formats(formats: &[&Format], path: &Path, any_case: bool) -> bool {
    formats.iter().filter(|format| format.in_directories).any(|format| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = if any_case { name.to_ascii_lowercase() } else { name.into_owned() };
        names::without_extension(&name, format.extensions).is_some()
    })
}

/// The extensions of files for which a directory stands, as in "*.h5, *.hdf or
/// *.hdf5".
pub fn patterns() -> String {
    let patterns: Vec<_> = FORMATS
        .iter()
        .filter(|format| format.in_directories)
        .flat_map(|format| format.extensions)
        .filter(|extension| !extension.starts_with("ome."))
        .map(|extension| format!("*.{extension}"))
        .collect();
    match patterns.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, first)) => format!("{} or {last}", first.join(", ")),
        None => String::new(),
    }
}

/// The format of that name, in upper or lower case, if it can be written.
pub fn writable(name: &str) -> Option<&'static Format> {
    let found = FORMATS.iter().find(|format| format.name.eq_ignore_ascii_case(name));
    found.filter(|format| format.create.is_some()).copied()
}

/// The format in which the result of an input is written unless another is asked for: its
/// own or, if that is none that is known or one that is only read, the first of
/// [`FORMATS`].
pub fn of_results(input: &Path) -> &'static Format {
    of(input).filter(|format| format.create.is_some()).unwrap_or(FORMATS[0])
}

impl Format {
    /// The extension of results: the first of the format or, if they are compressed, the
    /// one that says so.
    pub fn result_extension(&self, compression: Compression) -> &'static str {
        let zipped =
            |extension: &&&str| compression != Compression::None && extension.ends_with(".gz");
        self.extensions.iter().find(zipped).unwrap_or(&self.extensions[0])
    }

    /// Whether the extension of a path is one of this format, in upper or lower case.
    pub fn has_extension_of(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        names::without_extension(&name, self.extensions).is_some()
    }
}
