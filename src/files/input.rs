//! A file opened for reading that must not change while it is in use.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow, bail};

/// An ordinary file opened read-only.
#[derive(Debug)]
pub struct InputFile {
    /// Absolute path of the file.
    pub path: PathBuf,
    pub file: File,
    /// Bytes of the file when it was opened.
    pub size: u64,
    modified: Option<SystemTime>,
}

impl InputFile {
    /// Opens a file. `kind` says in messages what is expected, such as "an HDF5
    /// file".
    ///
    /// # Errors
    /// A file that is missing, a directory, no ordinary file or not readable. The
    /// message names its absolute path.
    pub fn open(path: &Path, kind: &str) -> Result<InputFile> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let name = path.display();
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => bail!("{name}: is a directory, not {kind}"),
            // Opening a pipe would wait for its writer.
            Ok(found) if !found.is_file() => bail!("{name}: is no ordinary file"),
            _ => {}
        }
        let file = File::open(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => anyhow!("{name}: no such file"),
            ErrorKind::PermissionDenied => {
                anyhow!("{name}: may not be read by this user; check its permissions")
            }
            _ => anyhow!("{name}: cannot be opened: {error}"),
        })?;
        let metadata = file.metadata().with_context(|| format!("{name}: cannot be opened"))?;
        let (size, modified) = (metadata.len(), metadata.modified().ok());
        Ok(InputFile { path, file, size, modified })
    }

    /// Checks that the file is the one that was opened.
    ///
    /// # Errors
    /// A file that was written to, replaced or removed. What was found in it when it
    /// was opened, such as the places of its voxels, need not hold any more. A file
    /// that was replaced could be read on, but the result would pass for that of the
    /// file that bears the name now.
    pub fn unchanged(&self) -> Result<()> {
        let name = self.path.display();
        let now = self.file.metadata().with_context(|| name.to_string())?;
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

/// Opens a file for reading. A pipe or a device would be waited for, or read, without end.
///
/// # Errors
/// One that is missing or not readable, or is no ordinary file.
pub fn open_ordinary(path: &Path) -> io::Result<File> {
    let found = fs::metadata(path)?;
    if !found.is_file() && !found.is_dir() {
        return Err(io::Error::other("is no ordinary file"));
    }
    File::open(path)
}

/// The text of an ordinary file.
///
/// # Errors
/// As [`open_ordinary`], and one that is no UTF-8. The message names the file.
pub fn read_text(path: &Path) -> Result<String> {
    let mut text = String::new();
    open_ordinary(path)
        .and_then(|mut file| file.read_to_string(&mut text))
        .with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(text)
}

/// What tells a file from all others, whatever links and spellings lead to it:
/// device and inode. `None` if there is no such file.
pub fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).map(|data| (data.dev(), data.ino())).ok()
}

/// What tells one state of a file from another: its size, the time of its last change
/// and its inode. A file that took the place of another has another inode even if it
/// is older. The number of the device is left out: network file systems give another
/// one to every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileState {
    /// Bytes.
    size: u64,
    /// Seconds since 1970, and nanoseconds.
    modified: (i64, i64),
    inode: u64,
}

impl FileState {
    /// The present state of a file, of that which a link leads to. Of a directory it is
    /// that of all that is in it: the bytes of all files and the time of the last change.
    pub fn of(path: &Path) -> io::Result<FileState> {
        let data = fs::metadata(path)?;
        let modified = (data.mtime(), data.mtime_nsec());
        let mut state = FileState { size: data.len(), modified, inode: data.ino() };
        if !data.is_dir() {
            return Ok(state);
        }
        state.size = 0;
        let mut folders = vec![path.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let data = fs::metadata(entry.path())?;
                state.modified = state.modified.max((data.mtime(), data.mtime_nsec()));
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else {
                    state.size += data.len();
                }
            }
        }
        Ok(state)
    }
}

impl fmt::Display for FileState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FileState { size, modified: (seconds, nanoseconds), inode } = self;
        write!(f, "{size} bytes, changed {seconds}.{nanoseconds:09}, inode {inode}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_file_that_took_the_place_of_another_has_another_state() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&a, "one").unwrap();
        fs::write(&b, "two").unwrap();
        let before = FileState::of(&a).unwrap();
        assert_eq!(before, FileState::of(&a).unwrap());
        // Of the same size and the same age.
        let time = fs::metadata(&a).unwrap().modified().unwrap();
        File::options().write(true).open(&b).unwrap().set_modified(time).unwrap();
        fs::rename(&b, &a).unwrap();
        let after = FileState::of(&a).unwrap();
        assert_ne!(before, after);
        let earlier = time - Duration::from_nanos(10);
        File::options().write(true).open(&a).unwrap().set_modified(earlier).unwrap();
        assert_ne!(FileState::of(&a).unwrap().to_string(), after.to_string());
    }
}
