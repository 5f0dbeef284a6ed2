//! A file opened for reading.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use hdf5::LocationType;
use hdf5::types::VarLenUnicode;

use super::Dataset;

/// An HDF5 file opened read-only.
///
/// Its locks are left alone: many programs read the same volume at once, often
/// on network file systems that know no locks.
#[derive(Clone, Debug)]
pub struct InputFile {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    /// Absolute.
    pub path: PathBuf,
    pub hdf5: hdf5::File,
    /// The same file, for reading without the library.
    pub plain: fs::File,
    pub size: u64,
    modified: Option<std::time::SystemTime>,
}

impl Inner {
    /// An error if the file changed since it was opened: the places of its
    /// chunks are no longer those that were found then. A file that was moved
    /// away or replaced could be read on, but what is made of it would pass for
    /// made of the file that bears the name now.
    pub fn unchanged(&self) -> Result<()> {
        let name = self.path.display();
        let now = self.plain.metadata().with_context(|| name.to_string())?;
        if now.len() != self.size || now.modified().ok() != self.modified {
            bail!(
                "{name}: the file was changed while it was in use; start again when it is complete"
            );
        }
        match fs::metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == (now.dev(), now.ino()) => Ok(()),
            Ok(_) => bail!(
                "{name}: another file took the place of this one while it was in use; start again \
                 when it is complete"
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => bail!(
                "{name}: the file was removed while it was in use; put it back and start again"
            ),
            Err(error) => bail!("{name}: the file is out of reach by now: {error}"),
        }
    }
}

impl InputFile {
    /// Opens a file. Errors name its absolute path: missing, a directory, not
    /// readable, not HDF5, damaged.
    pub fn open(path: &Path) -> Result<InputFile> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let name = path.display();
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => bail!("{name}: is a directory, not an HDF5 file"),
            // To open a pipe would wait for its writer.
            Ok(found) if !found.is_file() => bail!("{name}: is no ordinary file"),
            _ => {}
        }
        let mut plain = fs::File::open(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => anyhow!("{name}: no such file"),
            ErrorKind::PermissionDenied => {
                anyhow!("{name}: may not be read by this user; check its permissions")
            }
            _ => anyhow!("{name}: cannot be opened: {error}"),
        })?;
        let metadata = plain.metadata().with_context(|| format!("{name}: cannot be opened"))?;
        let hdf5 = hdf5::File::with_options()
            .with_fapl(|plist| plist.file_locking(false))
            .open(&path)
            .map_err(|error| {
                if has_signature(&mut plain) {
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
        let (size, modified) = (metadata.len(), metadata.modified().ok());
        Ok(InputFile { inner: Arc::new(Inner { path, hdf5, plain, size, modified }) })
    }

    /// The absolute path.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Whether there is a data set of that name.
    pub fn has(&self, name: &str) -> bool {
        is_dataset(&self.inner.hdf5, name)
    }

    /// Opens a volume (D, H, W) or (C, D, H, W) by its path within the file. If
    /// there is none, the error lists what there is.
    pub fn dataset(&self, name: &str) -> Result<Dataset> {
        Dataset::open(&self.inner, name).with_context(|| self.inner.path.display().to_string())
    }

    /// A text attribute of the file, `None` if there is none of that name.
    ///
    /// # Errors
    /// An attribute that is no text.
    pub fn attribute(&self, name: &str) -> Result<Option<String>> {
        let Ok(attribute) = self.inner.hdf5.attr(name) else { return Ok(None) };
        let text: VarLenUnicode = attribute.read_scalar().with_context(|| {
            format!("{}: the attribute `{name}` is no text", self.inner.path.display())
        })?;
        Ok(Some(text.as_str().to_string()))
    }

    /// Paths of the data sets in the file, also those in groups; of ten thousand
    /// links at most.
    pub fn dataset_names(&self) -> Vec<String> {
        self.inner.dataset_names()
    }
}

impl Inner {
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
            && let Ok(inner) = group.group(&name)
        {
            collect(&inner, &format!("{prefix}{name}/"), depth - 1, budget, names);
        }
    }
}

/// Without opening it, which would follow virtual data sets into other files.
fn is_dataset(group: &hdf5::Group, name: &str) -> bool {
    group.loc_type_by_name(name).is_ok_and(|found| found == LocationType::Dataset)
}

/// Whether the file begins as HDF5 files do, at 0 or behind a user block.
fn has_signature(file: &mut fs::File) -> bool {
    let mut start = [0; 8];
    file.read_exact(&mut start).is_ok() && start == *b"\x89HDF\r\n\x1a\n"
}
