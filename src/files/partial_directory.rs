//! Directories that are either the old or the new one, as [`super::PartialFile`] is for
//! files.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};
use rustix::io::Errno;
use tempfile::TempDir;

use super::leftovers::{RANDOM, SUFFIX, hold, remove_leftovers, stem};
use super::write::{directory_of, prefix, sync_directory};

/// How often another process may take a directory for left over the moment it is made.
const TRIES: usize = 20;

/// A directory that grows beside its target. Dropped before it is given its name, it is
/// removed, and what stands under the target stays.
#[derive(Debug)]
pub struct PartialDirectory {
    target: PathBuf,
    directory: TempDir,
    /// Its lock tells other processes that it is not left over.
    held: File,
}

impl PartialDirectory {
    /// Begins a directory beside `target`. What processes that have ended left of earlier
    /// ones of that name is removed.
    ///
    /// # Errors
    /// A parent that does not exist or cannot be written, a name that is too long.
    pub fn create(target: &Path) -> io::Result<PartialDirectory> {
        let parent = directory_of(target);
        if let Some(name) = target.file_name() {
            // What cannot be removed is no more in the way than before.
            let _ = remove_leftovers(parent, |leftover| leftover == stem(name));
        }
        let prefix = prefix(target)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(SUFFIX).rand_bytes(RANDOM);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o777));
        }
        for _ in 0..TRIES {
            let directory = builder.tempdir_in(parent)?;
            let held = match File::open(directory.path()) {
                Ok(held) => held,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if hold(&held)? {
                return Ok(PartialDirectory { target: target.to_path_buf(), directory, held });
            }
        }
        Err(io::Error::other("other processes remove every directory that is begun there"))
    }

    /// Where the directory is until it has its name.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Brings all files to the disk and gives the directory its name. Asks `may_replace`
    /// before it replaces anything, also what has appeared at the last moment.
    ///
    /// # Errors
    /// The outer error is that of `may_replace`. Nothing is left behind.
    pub fn replace_if<E>(
        self,
        may_replace: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<io::Result<()>, E> {
        if let Err(error) = syncfs(&self.held) {
            return Ok(Err(error.into()));
        }
        let renamed = rename_if(self.directory.path(), &self.target, may_replace)?;
        if renamed.is_ok() {
            // The old name is gone, or leads to what stood under the target: a directory or a
            // file, which the guard of directories would leave. What cannot be removed is known
            // as left over once it is not held any more.
            let _ = remove(&self.directory.keep());
        }
        Ok(renamed)
    }
}

/// Gives a directory another name. What stood under it, if that may be replaced, is then
/// under the old name, or removed.
///
/// # Errors
/// The outer error is that of `may_replace`.
pub fn rename_if<E>(
    from: &Path,
    to: &Path,
    may_replace: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<io::Result<()>, E> {
    let parent = directory_of(to);
    let rename = |flags| renameat_with(CWD, from, CWD, to, flags);
    match rename(RenameFlags::NOREPLACE) {
        Ok(()) => return Ok(sync_directory(parent)),
        // Not all file systems know these flags.
        Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
        Err(error) => return Ok(Err(error.into())),
    }
    if fs::symlink_metadata(to).is_err() {
        return Ok(fs::rename(from, to).and_then(|()| sync_directory(parent)));
    }
    may_replace(to)?;
    let exchanged = match rename(RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            remove(to).and_then(|()| fs::rename(from, to))
        }
        result => result.map_err(io::Error::from),
    };
    Ok(exchanged.and_then(|()| sync_directory(parent)))
}

/// Brings all files of a directory to the disk.
pub fn sync_all_below(directory: &Path) -> io::Result<()> {
    Ok(syncfs(File::open(directory)?)?)
}

/// Removes a file or a directory with all that is in it.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path)?.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::names;

    fn begun(target: &Path, text: &str) -> PartialDirectory {
        let partial = PartialDirectory::create(target).unwrap();
        fs::create_dir(partial.path().join("inner")).unwrap();
        fs::write(partial.path().join("inner/file"), text).unwrap();
        partial
    }

    #[test]
    fn a_directory_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.zarr");
        let content = || fs::read_to_string(target.join("inner/file")).unwrap();
        begun(&target, "first").replace_if(|_| Err("not asked")).unwrap().unwrap();
        assert_eq!(content(), "first");
        assert_eq!(begun(&target, "second").replace_if(|_| Err("no")).unwrap_err(), "no");
        assert_eq!(content(), "first");
        begun(&target, "second").replace_if(|_| Ok::<_, ()>(())).unwrap().unwrap();
        assert_eq!(content(), "second");
        drop(begun(&target, "third"));
        assert_eq!(names(folder.path()), ["a.zarr"]);
        fs::remove_dir_all(&target).unwrap();
        fs::write(&target, "a file").unwrap();
        begun(&target, "fourth").replace_if(|_| Ok::<_, ()>(())).unwrap().unwrap();
        assert_eq!(content(), "fourth");
        assert_eq!(names(folder.path()), ["a.zarr"]);
    }

    #[test]
    fn what_processes_left_goes_with_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.zarr");
        let left = folder.path().join(".a.zarr.x1Y2z3.partial");
        fs::create_dir_all(left.join("inner")).unwrap();
        let first = begun(&target, "first");
        assert!(!left.exists());
        let second = begun(&target, "second");
        assert!(first.path().exists());
        drop((first, second));
        assert!(names(folder.path()).is_empty());
    }
}
