//! Files that are either the old or the new one, whatever happens in between.
//!
//! A new file grows under a hidden name that ends in `.partial` beside its target,
//! is brought to the disk and only then renamed. It is readable by everybody whom
//! the umask lets, as any new file.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempPath;

const SUFFIX: &str = ".partial";

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
    /// Begins a file in the directory of `target`, which must exist.
    pub fn create(target: &Path) -> io::Result<PartialFile> {
        let mut builder = tempfile::Builder::new();
        let prefix = prefix(target)?;
        builder.prefix(&prefix).suffix(SUFFIX);
        // Temporary files are readable by their owner alone otherwise.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let (file, path) = builder.tempfile_in(directory_of(target))?.into_parts();
        Ok(PartialFile { target: target.to_path_buf(), file, path: Some(path) })
    }

    /// Where the file is until it has its name.
    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(&self.target)
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

    fn persist(
        mut self,
        rename: impl FnOnce(TempPath, &Path) -> Result<(), tempfile::PathPersistError>,
    ) -> io::Result<()> {
        self.file.sync_all()?;
        if let Some(path) = self.path.take() {
            rename(path, &self.target).map_err(|error| error.error)?;
        }
        sync_directory(directory_of(&self.target))
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

/// Removes the unfinished files that processes which were killed left in a
/// directory, of those targets whose names are `ours`. Only for whoever alone
/// writes there. Returns how many files were removed.
pub fn remove_leftovers(directory: &Path, ours: impl Fn(&str) -> bool) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // `.<target>.<random>.partial`
        let target = name
            .strip_prefix('.')
            .and_then(|name| name.strip_suffix(SUFFIX))
            .and_then(|name| name.rsplit_once('.'))
            .map(|(target, _)| target);
        if target.is_some_and(&ours) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn prefix(target: &Path) -> io::Result<String> {
    let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(format!(".{}.", name.to_string_lossy()))
}

fn directory_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

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

    #[test]
    fn only_leftovers_of_our_own_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".a.h5.x1Y2.partial", ".b.h5.x1Y2.partial", "a.h5", ".a.h5", "a.h5.1.partial"]
        {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(remove_leftovers(folder.path(), |target| target == "a.h5").unwrap(), 1);
        assert_eq!(names(folder.path()), [".a.h5", ".b.h5.x1Y2.partial", "a.h5", "a.h5.1.partial"]);
    }
}
