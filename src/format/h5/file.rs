//! An HDF5 file opened for reading.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use hdf5::LocationType;
use hdf5::types::VarLenUnicode;

use super::{H5Reader, guard};
use crate::files::InputFile;
use crate::volume::{VolumeFile, VolumeReader};

/// An HDF5 file opened read-only.
///
/// Its locks are left alone: many programs read the same volume at once, often
/// on network file systems that know no locks.
#[derive(Clone, Debug)]
pub struct H5File {
    handles: Arc<FileHandles>,
}

/// The same file twice: for the library, and for reading without it.
#[derive(Debug)]
pub(super) struct FileHandles {
    pub plain: InputFile,
    pub hdf5: hdf5::File,
}

/// A file that may be sound, but cannot be opened at this time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct OutOfReach(String);

/// What the system said, within a message of the library: "unable to open file: name =
/// 'a.h5', errno = 24, error message = 'Too many open files'".
pub(super) fn system_error(text: &str) -> Option<&str> {
    text.split("error message = '").nth(1)?.split('\'').next()
}

/// Refuses paths that the library does not take.
pub(super) fn ensure_text(path: &Path) -> Result<()> {
    ensure!(
        path.to_str().is_some(),
        "{}: the path has bytes that are no UTF-8 text, which the HDF5 library does not take: \
         rename the file or its folder",
        path.display()
    );
    Ok(())
}

impl H5File {
    /// Opens a file. Errors name its absolute path: missing, a directory, not
    /// readable, not HDF5, damaged.
    pub fn open(path: &Path) -> Result<H5File> {
        let mut plain = InputFile::open(path, "an HDF5 file")?;
        ensure_text(&plain.path)?;
        let hdf5 = hdf5::File::with_options()
            .with_fapl(|plist| plist.file_locking(false))
            .open(&plain.path)
            .map_err(|error| {
                let (name, text) = (plain.path.display().to_string(), error.to_string());
                // The writer's mark stays in a file whose writer was killed.
                if text.contains("already open for write") {
                    OutOfReach(format!(
                        "{name}: another program has the HDF5 file open for writing; wait until it \
                         has closed it (if none is running any more: `h5clear -s {name}`)"
                    ))
                    .into()
                } else if text.contains("unable to lock file") {
                    OutOfReach(format!(
                        "{name}: another program has locked the HDF5 file; wait until it has \
                         closed it, or set HDF5_USE_FILE_LOCKING=FALSE"
                    ))
                    .into()
                } else if let Some(cause) = system_error(&text) {
                    let remedy = match cause {
                        "Too many open files" => ": raise the limit on them (`ulimit -n`)",
                        _ => "",
                    };
                    OutOfReach(format!("{name}: cannot be opened: {cause}{remedy}")).into()
                } else if starts_with_signature(&mut plain.file) {
                    anyhow!(
                        "{name}: the HDF5 file is damaged or was not copied completely ({error})"
                    )
                } else {
                    anyhow!(
                        "{name}: not an HDF5 file; volumes are read from HDF5 files \
                         such as h5py writes"
                    )
                }
            })?;
        Ok(H5File { handles: Arc::new(FileHandles { plain, hdf5 }) })
    }

    /// Opens a volume (D, H, W) or (C, D, H, W) by its path within the file. If
    /// there is none, the error lists what there is.
    pub fn dataset(&self, name: &str) -> Result<H5Reader> {
        H5Reader::open(&self.handles, name).with_context(|| self.path().display().to_string())
    }

    pub(super) fn handles(&self) -> &FileHandles {
        &self.handles
    }

    /// Paths of the data sets in the file, also those in groups; of ten thousand
    /// links at most.
    pub fn dataset_names(&self) -> Vec<String> {
        self.handles.dataset_names()
    }
}

impl VolumeFile for H5File {
    fn path(&self) -> &Path {
        &self.handles.plain.path
    }

    fn names_volumes(&self) -> bool {
        true
    }

    fn names(&self) -> Vec<String> {
        self.dataset_names()
    }

    fn has(&self, name: &str) -> bool {
        is_dataset(&self.handles.hdf5, name)
    }

    fn volume(&self, name: &str) -> Result<Arc<dyn VolumeReader>> {
        Ok(Arc::new(self.dataset(name)?))
    }

    fn attribute(&self, name: &str) -> Result<Option<String>> {
        let Ok(attribute) = self.handles.hdf5.attr(name) else { return Ok(None) };
        let text: VarLenUnicode = attribute.read_scalar().with_context(|| {
            format!("{}: the attribute `{name}` is no text", self.path().display())
        })?;
        Ok(Some(text.as_str().to_string()))
    }
}

impl FileHandles {
    pub fn dataset_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        // Links may form circles; nobody hides a volume deeper than this.
        collect(&self.hdf5, "", 4, &mut 10_000, &mut names);
        names
    }
}

fn collect(
    group: &hdf5::Group,
    prefix: &str,
    depth: usize,
    budget: &mut usize,
    names: &mut Vec<String>,
) {
    let mut members = group.member_names().unwrap_or_default();
    members.sort();
    for name in members {
        // A circle of many links has more paths than can ever be walked.
        if *budget == 0 {
            return;
        }
        *budget -= 1;
        if is_dataset(group, &name) {
            names.push(format!("{prefix}{name}"));
        } else if depth > 0
            && guard::check_links(group, &name).is_ok()
            && let Ok(inner) = group.group(&name)
        {
            collect(&inner, &format!("{prefix}{name}/"), depth - 1, budget, names);
        }
    }
}

/// Without opening it, which would follow virtual data sets into other files.
fn is_dataset(group: &hdf5::Group, name: &str) -> bool {
    guard::check_links(group, name).is_ok()
        && group.loc_type_by_name(name).is_ok_and(|found| found == LocationType::Dataset)
}

/// Whether the file begins as HDF5 files without a user block do.
fn starts_with_signature(file: &mut fs::File) -> bool {
    let mut start = [0; 8];
    file.read_exact(&mut start).is_ok() && start == SIGNATURE
}

/// How HDF5 files begin, at byte 0, or behind a user block at 512, 1024, 2048, …
pub(super) const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// Whether the file is HDF5 by its content.
pub(super) fn recognises(file: &fs::File) -> bool {
    use std::os::unix::fs::FileExt;
    let size = file.metadata().map_or(0, |data| data.len());
    let places = std::iter::once(0).chain((9..63).map(|exponent| 1 << exponent));
    let mut start = [0; SIGNATURE.len()];
    places
        .take_while(|place| place + (SIGNATURE.len() as u64) <= size)
        .any(|place| file.read_exact_at(&mut start, place).is_ok() && start == SIGNATURE)
}
