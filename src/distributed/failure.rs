//! How ranks know that the others live, and which of them is the cause when they do not go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::ffi::group::Store;

/// How often a key of the store is looked for.
pub const LOOK: Duration = Duration::from_millis(10);
/// How often a rank tells that it lives.
const BEAT: Duration = Duration::from_millis(500);
/// A rank that tells nothing for so long is taken for dead.
const SILENCE: Duration = Duration::from_secs(3);
/// How long rank 0 keeps the store open after a failure.
pub const LINGER: Duration = Duration::from_secs(5);

/// The key under which the first failure stands.
pub const FAILURE: &str = "failure";

/// What a rank and its heartbeat share.
#[derive(Debug, Default)]
pub struct State {
    /// Operations on all ranks that this one has begun.
    pub begun: AtomicU64,
    /// Nanoseconds that they took, with waiting for other ranks.
    pub spent: AtomicU64,
    /// Whether a rank told that it failed.
    pub failed: AtomicBool,
}

/// Another rank is the cause that this one ends.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failed {
    pub message: String,
    /// Whether somebody else prints the cause: another rank, or the program that started
    /// this one.
    pub told: bool,
}

/// Ranks that were started with different things, which is wrong usage.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Differs(pub String);

/// Starts a thread that tells the others that this rank lives, and how far it is, and looks
/// whether one of them failed.
pub fn beat(store: &Store, rank: usize) -> Result<Arc<State>> {
    let own = store.connect_again()?;
    let state = Arc::new(State::default());
    let (shared, key) = (state.clone(), format!("beat/{rank}"));
    thread::Builder::new().name("heartbeat".into()).spawn(move || {
        for beat in 0u64.. {
            let text = format!("{beat} {}", shared.begun.load(Ordering::Relaxed));
            // Without a store there is nobody to tell.
            let Ok(failure) = own.set(&key, &text).and_then(|()| own.get(FAILURE)) else {
                return;
            };
            if failure.is_some() {
                shared.failed.store(true, Ordering::Relaxed);
            }
            thread::sleep(BEAT);
        }
    })?;
    Ok(state)
}

/// Tells that this rank needs the store no longer. Rank 0, with which it ends, waits for the
/// others.
pub fn depart(store: &Store, rank: usize, size: usize) -> Result<()> {
    const LEFT: &str = "left";
    if rank > 0 {
        store.add(LEFT, 1)?;
        return Ok(());
    }
    let started = Instant::now();
    while store.add(LEFT, 0)? < size as i64 - 1 && started.elapsed() < LINGER {
        thread::sleep(LOOK);
    }
    Ok(())
}

/// Which rank is the cause that an operation on all ranks failed.
pub fn diagnose(
    store: &Store,
    (size, own): (usize, usize),
    waited: u64,
    watched: bool,
) -> Result<Option<Failed>> {
    let beats = || -> Result<Vec<Option<(u64, u64)>>> {
        let beat = |rank: usize| -> Result<Option<(u64, u64)>> {
            let text = store.get(&format!("beat/{rank}"))?.unwrap_or_default();
            let mut numbers = text.split(' ').map(str::parse);
            Ok(match (numbers.next(), numbers.next()) {
                (Some(Ok(beat)), Some(Ok(begun))) => Some((beat, begun)),
                _ => None,
            })
        };
        (0..size).map(beat).collect()
    };
    let (before, started) = (beats()?, Instant::now());
    while started.elapsed() < SILENCE {
        // A rank that failed says so.
        if let Some(message) = store.get(FAILURE)? {
            return Ok(Some(Failed { message, told: true }));
        }
        thread::sleep(LOOK);
    }
    let now = beats()?;
    let others = |is_cause: &dyn Fn(usize) -> bool| -> Vec<usize> {
        (0..size).filter(|&rank| rank != own && is_cause(rank)).collect()
    };
    // The count of beats moves, whatever the rank does.
    let dead = others(&|rank| match (before[rank], now[rank]) {
        (Some((before, _)), Some((now, _))) => before == now,
        // It has not come yet.
        _ => false,
    });
    if !dead.is_empty() {
        let were = if dead.len() == 1 { "was" } else { "were" };
        let message = format!("{} died, {were} stopped or cannot be reached", names(&dead));
        // The starter knows more about it.
        return Ok(Some(Failed { message, told: watched }));
    }
    let begun = |rank: usize| now[rank].map_or(0, |(_, begun)| begun);
    let late = others(&|rank| begun(rank) < begun(own));
    if late.is_empty() {
        return Ok(None);
    }
    let message = format!("{} did not come within {waited} s (--rank-timeout)", names(&late));
    Ok(Some(Failed { message, told: false }))
}

/// `rank 1` or `ranks 1, 3`.
pub fn names(ranks: &[usize]) -> String {
    let list: Vec<_> = ranks.iter().map(usize::to_string).collect();
    format!("rank{} {}", if ranks.len() == 1 { "" } else { "s" }, list.join(", "))
}
