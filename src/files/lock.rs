//! Directories in which one process writes at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// What became of the attempt to lock a directory. The lock is the system's: it
/// ends when the file is closed, also when the process crashes.
#[derive(Debug)]
pub enum Lock {
    /// The lock holds for as long as the file lives.
    Held(File),
    /// Another process has the lock.
    Taken,
    /// The file system has no locks, as some network file systems.
    Unavailable(io::Error),
}

/// Locks a directory by its file `.lock`, which is made if it does not exist.
///
/// # Errors
/// A directory in which no file can be made.
pub fn lock_directory(directory: &Path) -> io::Result<Lock> {
    let file = OpenOptions::new().create(true).append(true).open(directory.join(".lock"))?;
    Ok(match file.try_lock() {
        Ok(()) => Lock::Held(file),
        Err(TryLockError::WouldBlock) => Lock::Taken,
        Err(TryLockError::Error(error)) => Lock::Unavailable(error),
    })
}
