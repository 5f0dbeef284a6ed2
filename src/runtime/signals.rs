//! Signals: the first requests a clean stop, the second ends the process at once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::flag;

/// Exit code of a run that was stopped cleanly by a signal.
pub const STOPPED: u8 = 3;

/// A run was stopped cleanly by a signal; it is neither a failure nor complete.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Stopped(pub String);

/// Makes writing beyond the limit on the size of files (`ulimit -f`) fail as writing to a
/// full disk does. The signal would end the process in the midst of a file.
pub fn fail_instead_of_sigxfsz() -> Result<()> {
    flag::register(SIGXFSZ, Arc::default()).context("signals cannot be caught")?;
    Ok(())
}

/// A flag that SIGINT, SIGTERM and SIGUSR1 (which Slurm can send before a time limit) set. The
/// second signal ends the process at once.
pub fn on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGUSR1] {
        // The order matters: the first signal finds the flag unset and only sets it.
        flag::register_conditional_shutdown(signal, 128 + signal, stop.clone())
            .and_then(|_| flag::register(signal, stop.clone()))
            .context("signals cannot be caught")?;
    }
    Ok(stop)
}
