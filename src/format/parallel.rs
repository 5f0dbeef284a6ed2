//! Work on numbered parts by several threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use anyhow::{Result, anyhow};

/// Calls `work` for every number below `count`, with that many threads. The first error
/// stops them all.
pub(super) fn for_each_number(
    count: usize,
    threads: usize,
    work: &(dyn Fn(usize) -> Result<()> + Sync),
) -> Result<()> {
    let threads = threads.clamp(1, count.max(1));
    if threads == 1 {
        return (0..count).try_for_each(work);
    }
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let run = || -> Result<()> {
        while !failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                break;
            }
            work(number).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let mut result = Ok(());
        for thread in running {
            let ended = thread
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a thread has failed inside the program")));
            result = result.and(ended);
        }
        result
    })
}
