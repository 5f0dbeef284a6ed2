//! The checkpoint directory of a run.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use log::warn;

use crate::checkpoint::remove_leftovers;
use crate::files::{Lock, lock_directory};

/// Locks a checkpoint directory for this run, for as long as the returned lock
/// lives, and finds out before hours of training whether it can be written. The
/// system releases the lock after a crash as well.
pub fn claim_directory(directory: &Path) -> Result<Lock> {
    let context = || {
        format!(
            "{}: checkpoints cannot be written there; choose another `trainer.checkpoint_dir`",
            directory.display()
        )
    };
    fs::create_dir_all(directory).with_context(context)?;
    let lock = lock_directory(directory).with_context(context)?;
    match &lock {
        Lock::Held(_) => {}
        Lock::Taken => bail!(
            "{}: another run writes its checkpoints there; wait for it, or choose another \
             `trainer.checkpoint_dir`",
            directory.display()
        ),
        // Some network file systems have no locks: better to train than not.
        Lock::Unavailable(error) => {
            warn!("{}: cannot be locked against other runs: {error}", directory.display());
        }
    }
    tempfile::Builder::new().prefix(".writable").tempfile_in(directory).with_context(context)?;
    // What a run that was killed in the midst of writing left behind.
    remove_leftovers(directory).with_context(context)?;
    Ok(lock)
}

/// Whether a run with that checkpoint directory writes a file of this name.
pub(super) fn is_written(file: &Path, checkpoint_dir: &Path) -> bool {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let same = match (folder.canonicalize(), checkpoint_dir.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    };
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let of_ours = name.strip_suffix("_checkpoint.pytorch").is_some_and(|start| {
        ["last", "best"].contains(&start) || start.bytes().all(|byte| byte.is_ascii_digit())
    });
    same && of_ours
}
