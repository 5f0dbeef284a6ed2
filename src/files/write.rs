//! Files that are either the old or the new one, whatever happens in between.
//!
//! A new file grows under a hidden name that ends in `.partial` beside its target,
//! is brought to the disk and only then renamed. It is readable by everybody whom
//! the umask lets, as any new file. Its writer holds a lock on it, by which other
//! processes know that it is not left over.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use super::leftovers::{RANDOM, SUFFIX, hold, remove_leftovers, stem};

/// How often another process may take a file for left over the moment it is made.
const TRIES: usize = 20;

/// A file that grows beside its target. Dropped before it is given its name, it is
/// removed, and what stands under the target stays.
#[derive(Debug)]
pub struct PartialFile {
    target: PathBuf,
    file: File,
    /// `None` once the file has its name.
    path: Option<TempPath>,
}

impl PartialFile {
    /// Begins a file in the directory of `target`, which must exist. What processes that
    /// have ended left of earlier files of that name is removed.
    ///
    /// # Errors
    /// A directory that does not exist or cannot be written, a name that is too long.
    pub fn create(target: &Path) -> io::Result<PartialFile> {
        let directory = directory_of(target);
        if let Some(name) = target.file_name() {
            // What cannot be removed is no more in the way than before.
            let _ = remove_leftovers(directory, |leftover| leftover == stem(name));
        }
        let mut builder = tempfile::Builder::new();
        let prefix = prefix(target)?;
        builder.prefix(&prefix).suffix(SUFFIX).rand_bytes(RANDOM);
        // Temporary files are readable by their owner alone otherwise.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        for _ in 0..TRIES {
            let (file, path) = builder.tempfile_in(directory)?.into_parts();
            if hold(&file)? {
                return Ok(PartialFile { target: target.to_path_buf(), file, path: Some(path) });
            }
        }
        Err(removed())
    }

    /// A file with this text, which waits for its name.
    ///
    /// # Errors
    /// As [`PartialFile::create`], and a full disk.
    pub fn of_text(target: &Path, text: &str) -> io::Result<PartialFile> {
        let partial = PartialFile::create(target)?;
        partial.file().write_all(text.as_bytes())?;
        Ok(partial)
    }

    /// Where the file is until it has its name.
    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(&self.target)
    }

    /// Has a library open the file once more. It is not held meanwhile: libraries may
    /// lock what they open, and lock it alone. If another process takes it for left over at
    /// that moment and removes it, another one is begun.
    ///
    /// # Errors
    /// As [`PartialFile::create`].
    pub fn open_again<T>(&mut self, open: impl Fn(&Path) -> T) -> io::Result<T> {
        for _ in 0..TRIES {
            // Without locks there is none to give back.
            let _ = self.file.unlock();
            let opened = open(self.path());
            // If the library has locked the file, then this is what holds it.
            let _ = hold(&self.file)?;
            if self.file.metadata()?.nlink() > 0 {
                return Ok(opened);
            }
            drop(opened);
            *self = PartialFile::create(&self.target)?;
        }
        Err(removed())
    }

    /// The file, open for writing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Brings the file to the disk and gives it its name, replacing what stood
    /// there.
    pub fn replace(self) -> io::Result<()> {
        self.persist(|path, target| path.persist(target))
    }

    /// As [`PartialFile::replace`], but fails if there is a file of that name.
    pub fn keep_new(self) -> io::Result<()> {
        self.persist(|path, target| path.persist_noclobber(target))
    }

    /// As [`PartialFile::replace`], but asks `may_replace` before it replaces a file. If
    /// there is none, none that appears at the last moment is replaced unasked.
    ///
    /// # Errors
    /// The outer error is that of `may_replace`. Nothing is left behind.
    pub fn replace_if<E>(
        self,
        may_replace: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<io::Result<()>, E> {
        let mut refused = Ok(());
        let renamed = self.persist(|path, target| {
            let fault = match path.persist_noclobber(target) {
                Ok(()) => return Ok(()),
                Err(fault) => fault,
            };
            // Some file systems can only rename.
            if fs::symlink_metadata(target).is_ok() {
                refused = may_replace(target);
                if refused.is_err() {
                    return Err(fault);
                }
            }
            fault.path.persist(target)
        });
        refused.map(|()| renamed)
    }

    fn persist(
        mut self,
        rename: impl FnOnce(TempPath, &Path) -> Result<(), tempfile::PathPersistError>,
    ) -> io::Result<()> {
        // A library that has locked the file has closed it by now, and released it.
        if !hold(&self.file)? {
            self.begin_again()?;
        }
        self.file.sync_all()?;
        if let Some(path) = self.path.take() {
            rename(path, &self.target).map_err(|error| error.error)?;
        }
        sync_directory(directory_of(&self.target))
    }
}

impl PartialFile {
    /// Copies the file, which another process has taken for left over, into one that is held
    /// from its beginning on. What it holds is there as long as it is open.
    fn begin_again(&mut self) -> io::Result<()> {
        let copy = PartialFile::create(&self.target)?;
        let mut from = File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))?;
        io::copy(&mut from, &mut &copy.file)?;
        *self = copy;
        Ok(())
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        // A library may keep a file open that it could not write to the end: give
        // the disk back what it holds. The path removes the name.
        if self.path.is_some() {
            let _ = self.file.set_len(0);
        }
    }
}

/// Writes a file with `fill`, replacing what stood under `path`.
///
/// # Errors
/// Whatever goes wrong in writing: then nothing is replaced and nothing is left
/// behind.
pub fn write(path: &Path, fill: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let partial = PartialFile::create(path)?;
    fill(partial.file())?;
    partial.replace()
}

/// As [`write`], but fails if there is a file of that name.
pub fn write_new(path: &Path, fill: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let partial = PartialFile::create(path)?;
    fill(partial.file())?;
    partial.keep_new()
}

/// Copies an open file to `to`, replacing what stood there.
pub fn copy(mut from: &File, to: &Path) -> io::Result<()> {
    write(to, |mut file| io::copy(&mut from, &mut file).map(|_| ()))
}

fn removed() -> io::Error {
    io::Error::other("other processes remove every file that is begun there")
}

/// What the name of an unfinished file begins with.
pub(super) fn prefix(target: &Path) -> io::Result<OsString> {
    let mut prefix = OsString::from(".");
    prefix.push(stem(target.file_name().ok_or(io::ErrorKind::InvalidInput)?));
    prefix.push(".");
    Ok(prefix)
}

pub(super) fn directory_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the new name survive a loss of power. Some network file systems cannot
/// do that for directories; the file itself is whole even so.
#[cfg(unix)]
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    match File::open(directory).and_then(|directory| directory.sync_all()) {
        Err(error) if matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported) => {
            Ok(())
        }
        result => result,
    }
}

#[cfg(not(unix))]
pub(super) fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::names;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write(&path, |mut file| file.write_all(b"first")).unwrap();
        let failed = write(&path, |mut file| {
            file.write_all(b"second")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        let ask = |may: Result<(), &'static str>| {
            let partial = PartialFile::create(&path).unwrap();
            partial.file().write_all(b"third").unwrap();
            partial.replace_if(|_| may)
        };
        assert_eq!(ask(Err("no")).unwrap_err(), "no");
        assert_eq!(fs::read(&path).unwrap(), b"first");
        ask(Ok(())).unwrap().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"third");
        fs::remove_file(&path).unwrap();
        ask(Err("not asked")).unwrap().unwrap();
        write(&path, |mut file| file.write_all(b"first")).unwrap();
        let there = write_new(&path, |mut file| file.write_all(b"third"));
        assert_eq!(there.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_file_has_the_permissions_of_any_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| {
            fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777
        };
        write(&folder.path().join("ours"), |_| Ok(())).unwrap();
        fs::write(folder.path().join("plain"), "").unwrap();
        assert_eq!(mode("ours"), mode("plain"));
    }
}
