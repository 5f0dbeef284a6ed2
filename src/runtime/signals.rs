//! Signals: the first asks for an orderly end, a second one ends at once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

/// Exit code of a run that a signal ended in order.
pub const STOPPED: u8 = 3;

/// A run that a signal ended in order; not a failure, but not done either.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Stopped(pub String);

/// A flag that SIGINT, SIGTERM and SIGUSR1 (which Slurm can send before a time
/// limit) set. The second signal ends the process at once.
pub fn on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGUSR1] {
        // In this order: the first signal finds the flag down and only raises it.
        flag::register_conditional_shutdown(signal, 128 + signal, stop.clone())
            .and_then(|_| flag::register(signal, stop.clone()))
            .context("signals cannot be caught")?;
    }
    Ok(stop)
}
