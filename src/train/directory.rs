//! The checkpoint directory of a run: claiming it, what an earlier run left there, and
//! moving that aside.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use log::warn;

use crate::checkpoint::{self, PickleValue, remove_leftovers};
use crate::files::{Lock, by_natural_order, lock_directory};

/// The checkpoint that `--resume auto` goes on from.
pub(super) const LAST: &str = "last_checkpoint.pytorch";
/// The checkpoint of the best validation.
pub(super) const BEST: &str = "best_checkpoint.pytorch";
/// The folder of TensorBoard's files, where no earlier run wrote any.
pub(super) const LOGS: &str = "logs";

/// Locks a checkpoint directory for this run, for as long as the returned lock
/// lives, and finds out before hours of training whether it can be written. The
/// system releases the lock after a crash as well.
pub fn claim_directory(directory: &Path) -> Result<Lock> {
    fs::create_dir_all(directory).with_context(|| unwritable(directory))?;
    let lock = lock_directory(directory).with_context(|| unwritable(directory))?;
    match &lock {
        Lock::Held(_) => {}
        Lock::Taken => bail!(taken(directory)),
        // Some network file systems have no locks: better to train than not.
        Lock::Unavailable(error) => {
            warn!("{}: cannot be locked against other runs: {error}", directory.display());
        }
    }
    tempfile::Builder::new()
        .prefix(".writable")
        .tempfile_in(directory)
        .with_context(|| unwritable(directory))?;
    // What a run that was killed in the midst of writing left behind.
    remove_leftovers(directory).with_context(|| unwritable(directory))?;
    Ok(lock)
}

/// Finds out whether [`claim_directory`] would succeed, and leaves nothing behind.
///
/// # Errors
/// A directory that cannot be made or written, or in which another run is at work.
pub fn check_directory(directory: &Path) -> Result<()> {
    refuse_running(directory)?;
    crate::files::check_writable(directory).with_context(|| unwritable(directory))
}

/// Refuses a directory in which another run is at work. Touches nothing.
///
/// # Errors
/// A directory that another process has locked.
pub fn refuse_running(directory: &Path) -> Result<()> {
    let Ok(file) = File::open(directory.join(".lock")) else { return Ok(()) };
    // Shared, so that two processes that only look do not see one another.
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => bail!(taken(directory)),
        _ => Ok(()),
    }
}

fn unwritable(directory: &Path) -> String {
    format!(
        "{}: checkpoints cannot be written there; choose another `trainer.checkpoint_dir`",
        directory.display()
    )
}

fn taken(directory: &Path) -> String {
    format!(
        "{}: another run writes its checkpoints there; wait for it, or choose another \
         `trainer.checkpoint_dir`",
        directory.display()
    )
}

/// Whatever bears the name of a run's checkpoint in a directory, in natural order;
/// nothing if there is no such directory.
///
/// # Errors
/// A directory that cannot be listed.
pub(super) fn checkpoints(directory: &Path) -> io::Result<Vec<PathBuf>> {
    named(directory, |name| {
        name.strip_suffix("_checkpoint.pytorch").is_some_and(|start| {
            let number = !start.is_empty() && start.bytes().all(|byte| byte.is_ascii_digit());
            number || ["last", "best"].contains(&start)
        })
    })
}

/// The folders of TensorBoard's files that runs made in a checkpoint directory.
///
/// # Errors
/// A directory that cannot be listed.
pub(super) fn log_folders(directory: &Path) -> io::Result<Vec<PathBuf>> {
    named(directory, |name| {
        name == LOGS || name.strip_prefix("logs_").is_some_and(|date| date.starts_with("20"))
    })
}

fn named(directory: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        // What is wrong with a path that leads nowhere is said when it is claimed.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string().ok().filter(|name| wanted(name)));
    }
    names.sort_by(|a, b| by_natural_order(a, b));
    Ok(names.into_iter().map(|name| directory.join(name)).collect())
}

/// The iteration after which a checkpoint was written; `None` if it does not tell.
pub(super) fn iteration_of(path: &Path) -> Option<u64> {
    if !path.is_file() {
        return None;
    }
    let root = checkpoint::File::open(path).ok()?.root;
    root.get("num_iterations").and_then(PickleValue::as_int)?.try_into().ok()
}

/// The folder, below the checkpoint directory, for TensorBoard's files of a run that
/// starts afresh: one in which no run has written any.
pub(super) fn fresh_logs(directory: &Path) -> String {
    let is_taken = |name: &str| {
        let entries = fs::read_dir(directory.join(name)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name()).any(|file| {
            let name = file.to_string_lossy();
            name.contains("tfevents")
        })
    };
    if !is_taken(LOGS) {
        return LOGS.into();
    }
    let date = date();
    let dated = (0..).map(|number| match number {
        0 => format!("{LOGS}_{date}"),
        number => format!("{LOGS}_{date}_{number}"),
    });
    dated.into_iter().find(|name| !directory.join(name).exists()).unwrap_or_default()
}

/// Moves files and folders of a checkpoint directory into a new folder there, whose
/// name tells the time. Returns the folder.
///
/// # Errors
/// A folder that cannot be made, or a file that cannot be moved. What was not moved
/// is where it was.
pub(super) fn move_aside(directory: &Path, files: &[PathBuf]) -> Result<PathBuf> {
    let date = date();
    let mut folder = directory.join(format!("earlier_{date}"));
    let mut number = 1;
    loop {
        match fs::create_dir(&folder) {
            Ok(()) => break,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                folder = directory.join(format!("earlier_{date}_{number}"));
                number += 1;
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("{}: the folder cannot be made", folder.display()));
            }
        }
    }
    for file in files {
        let to = folder.join(file.file_name().unwrap_or_default());
        fs::rename(file, &to).with_context(|| {
            format!("{} cannot be moved to {}", file.display(), folder.display())
        })?;
    }
    Ok(folder)
}

/// Date and time (UTC) as part of a file name.
fn date() -> String {
    Timestamp::now().strftime("%Y-%m-%d_%H-%M-%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_moved_aside_is_kept_under_names_that_differ() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(LAST);
        let mut kept = Vec::new();
        for text in ["first", "second", "third"] {
            fs::write(&file, text).unwrap();
            kept.push((move_aside(folder.path(), std::slice::from_ref(&file)).unwrap(), text));
            assert!(!file.exists());
        }
        for (aside, text) in kept {
            assert_eq!(fs::read_to_string(aside.join(LAST)).unwrap(), text);
        }
    }

    #[test]
    fn the_names_of_checkpoints_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let ours = ["9_checkpoint.pytorch", "10_checkpoint.pytorch", BEST, LAST];
        for name in ["_checkpoint.pytorch", "my_checkpoint.pytorch", "a.pytorch", "1_checkpoint"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        for name in ours {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found = checkpoints(folder.path()).unwrap();
        assert_eq!(found, ours.map(|name| folder.path().join(name)));
        assert!(checkpoints(&folder.path().join("none")).unwrap().is_empty());
    }
}
