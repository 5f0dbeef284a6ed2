//! Unfinished files that a process left behind, told from those that a living process
//! still writes.
//!
//! A process number says nothing about processes of other machines. Whoever writes an
//! unfinished file therefore holds a lock on it, which the system releases when the
//! process ends, however it ends. File systems of a network may lack locks, or may keep
//! them from the other machines: there a file is left over only if it has not been
//! written to for a week.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::partial_directory::remove;

/// How the names of unfinished files end.
pub(super) const SUFFIX: &str = ".partial";

/// Characters that make the name of an unfinished file unique.
pub(super) const RANDOM: usize = 6;

/// Age from which on a file that no lock protects is left over.
const ABANDONED: Duration = Duration::from_secs(7 * 24 * 3600);

/// File systems of this machine alone, by the number that statfs gives (statfs(2)).
const LOCAL: &[u32] = &[
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0x0102_1994, // tmpfs
    0x794c_7630, // overlayfs
    0x2fc1_2fc1, // ZFS
    0xf2f5_2010, // F2FS
    0xca45_1a4e, // bcachefs
    0x8584_58f6, // ramfs
];

/// What the names of the unfinished files of a target begin with, after the dot. Names
/// so long that nothing can be added to them are shortened.
pub(super) fn stem(target: &OsStr) -> &OsStr {
    const LONGEST: usize = 255 - 2 - RANDOM - SUFFIX.len();
    let bytes = target.as_bytes();
    OsStr::from_bytes(&bytes[..bytes.len().min(LONGEST)])
}

/// Removes the unfinished files and directories that processes which have ended left in a
/// directory, of those targets whose names, perhaps shortened, are `ours`. Returns how many
/// were removed.
///
/// # Errors
/// A directory that cannot be read, or a file that cannot be removed.
pub fn remove_leftovers(directory: &Path, ours: impl Fn(&OsStr) -> bool) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = target_of(&name).is_some_and(&ours);
        let kind = entry.file_type()?;
        if !is_ours || !(kind.is_file() || kind.is_dir()) {
            continue;
        }
        // Its lock is kept until the file is gone, so that nobody begins to hold it meanwhile.
        let Some(_lock) = abandoned(directory, &entry.path()) else { continue };
        match remove(&entry.path()) {
            Ok(()) => removed += 1,
            // It got its name, or another process has removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

/// The target's name within `.<target>.<random>.partial`.
fn target_of(name: &OsStr) -> Option<&OsStr> {
    let inner = name.as_bytes().strip_prefix(b".")?.strip_suffix(SUFFIX.as_bytes())?;
    let dot = inner.iter().rposition(|byte| *byte == b'.')?;
    Some(OsStr::from_bytes(&inner[..dot]))
}

/// The file, locked against all others where there are locks, if no living process holds
/// it.
fn abandoned(directory: &Path, path: &Path) -> Option<File> {
    let old = || {
        let modified = fs::metadata(path).and_then(|data| data.modified()).ok();
        let age = modified.and_then(|time| SystemTime::now().duration_since(time).ok());
        age.is_some_and(|age| age > ABANDONED)
    };
    // Directories can be opened for reading alone.
    let file = OpenOptions::new().read(true).write(!path.is_dir()).open(path).ok()?;
    let is_abandoned = match file.try_lock() {
        Ok(()) => is_local(directory) || old(),
        Err(fs::TryLockError::WouldBlock) => false,
        Err(fs::TryLockError::Error(_)) => old(),
    };
    is_abandoned.then_some(file)
}

/// Whether all locks on a directory's files are known to this machine.
fn is_local(directory: &Path) -> bool {
    rustix::fs::statfs(directory).is_ok_and(|found| LOCAL.contains(&(found.f_type as u32)))
}

/// Holds a file, so that it is not left over while it is open. Returns false if another
/// process has taken it for left over, and has removed it or is about to.
///
/// The lock is a shared one: programs that open the file under its final name before it
/// is closed here can lock it for reading.
pub(super) fn hold(file: &File) -> io::Result<bool> {
    match file.try_lock_shared() {
        Ok(()) => Ok(file.metadata()?.nlink() > 0),
        Err(fs::TryLockError::WouldBlock) => Ok(false),
        // Without locks the age of the file protects it.
        Err(fs::TryLockError::Error(_)) => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::PartialFile;
    use crate::files::names;

    #[test]
    fn only_leftovers_of_our_own_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".a.h5.x1Y2.partial", ".b.h5.x1Y2.partial", "a.h5", ".a.h5", "a.h5.1.partial"]
        {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert!(is_local(folder.path()), "the tests need a file system of this machine");
        assert_eq!(remove_leftovers(folder.path(), |target| target == "a.h5").unwrap(), 1);
        assert_eq!(names(folder.path()), [".a.h5", ".b.h5.x1Y2.partial", "a.h5", "a.h5.1.partial"]);
    }

    #[test]
    fn what_is_being_written_is_not_left_over() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.h5");
        let first = PartialFile::create(&target).unwrap();
        // Making a second one removes what is left over, which the first one is not.
        let second = PartialFile::create(&target).unwrap();
        assert_eq!(remove_leftovers(folder.path(), |_| true).unwrap(), 0);
        first.replace().unwrap();
        second.replace().unwrap();
        assert_eq!(names(folder.path()), ["a.h5"]);
    }

    #[test]
    fn what_was_left_over_goes_with_the_next_file_of_that_name() {
        let folder = tempfile::tempdir().unwrap();
        let long = "ä".repeat(120) + "0123456789";
        for name in ["a.h5", &long] {
            let target = folder.path().join(name);
            let partial = PartialFile::create(&target).unwrap();
            let left = partial.path().to_path_buf();
            drop(partial);
            fs::write(&left, "left over").unwrap();
            drop(PartialFile::create(&target).unwrap());
            assert!(!left.exists(), "{name}");
        }
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn without_locks_a_week_has_to_pass() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".a.h5.x.partial");
        let file = File::create(&path).unwrap();
        // No number of a local file system is known for procfs.
        let elsewhere = Path::new("/proc");
        assert!(!is_local(elsewhere));
        assert!(abandoned(elsewhere, &path).is_none());
        file.set_modified(SystemTime::now() - ABANDONED - Duration::from_secs(1)).unwrap();
        assert!(abandoned(elsewhere, &path).is_some());
        let held = File::open(&path).unwrap();
        assert!(hold(&held).unwrap());
        assert!(abandoned(elsewhere, &path).is_none());
    }
}
