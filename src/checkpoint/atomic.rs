//! Files that are either the old or the new one, whatever happens in between.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::error::CheckpointError;

/// How names of unfinished files begin and end.
const PREFIX: &str = ".";
const SUFFIX: &str = ".partial";

/// Lets `fill` write a new file beside `path`, brings it to the disk and only
/// then gives it the name. If anything fails the unfinished file is removed and
/// what stood under `path` stays.
pub fn write_file(
    path: &Path,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), CheckpointError> {
    replace(path, fill).map_err(|source| CheckpointError::Write { path: path.into(), source })
}

/// Copies a file in the same manner.
pub fn copy_file(from: &Path, to: &Path) -> Result<(), CheckpointError> {
    let mut source =
        File::open(from).map_err(|source| CheckpointError::Read { path: from.into(), source })?;
    write_file(to, |file| io::copy(&mut source, file).map(|_| ()))
}

/// Removes the unfinished files that a run which was killed has left in a
/// directory. Only for whoever alone writes there.
pub fn remove_leftovers(directory: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX)
            && name.ends_with(SUFFIX)
            && name.contains(".pytorch.")
            && entry.file_type()?.is_file()
        {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn replace(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let mut builder = tempfile::Builder::new();
    let prefix = format!("{PREFIX}{name}.");
    builder.prefix(&prefix).suffix(SUFFIX);
    // Readable by whom the umask lets, like any file, not by the owner alone.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut partial = builder.tempfile_in(&directory)?;
    fill(partial.as_file_mut())?;
    partial.as_file().sync_all()?;
    partial.persist(path).map_err(|error| error.error)?;
    sync_directory(&directory)
}

/// Makes the new name survive a loss of power. Some network file systems cannot
/// do that for directories; the file itself is whole even so.
#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    match File::open(directory).and_then(|directory| directory.sync_all()) {
        Err(error) if matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported) => {
            Ok(())
        }
        result => result,
    }
}

#[cfg(not(unix))]
fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}
