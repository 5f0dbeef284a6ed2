//! Work that threads share out among themselves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{panic, thread};

use anyhow::Result;

/// Works on all items with that many threads, each with a state of its own. A thread that is
/// free takes the next item. The first error stops them all.
///
/// # Errors
/// That of the first thread that had one.
pub fn for_each<I: Send, S: Default>(
    items: Vec<I>,
    threads: usize,
    work: impl Fn(&mut S, I) -> Result<()> + Sync,
) -> Result<()> {
    let threads = threads.clamp(1, items.len().max(1));
    let queue = Mutex::new(items.into_iter());
    let failed = AtomicBool::new(false);
    let run = || {
        let mut state = S::default();
        while !failed.load(Ordering::Relaxed) {
            let item = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(item) = item else { break };
            work(&mut state, item).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    };
    if threads == 1 {
        return run();
    }
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        // All are joined before the first error is told.
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        results
            .into_iter()
            .try_for_each(|result| result.unwrap_or_else(|fault| panic::resume_unwind(fault)))
    })
}

/// What `work` makes of each item, in the order of the items; threads as in [`for_each`].
pub fn map<I: Send, R: Send>(
    items: Vec<I>,
    threads: usize,
    work: impl Fn(I) -> R + Sync,
) -> Vec<R> {
    let made = Mutex::new(Vec::with_capacity(items.len()));
    let numbered: Vec<(usize, I)> = items.into_iter().enumerate().collect();
    let done = for_each(numbered, threads, |(): &mut (), (number, item)| {
        let result = work(item);
        made.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
        Ok(())
    });
    // `work` has no errors.
    debug_assert!(done.is_ok());
    let mut made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
    made.sort_unstable_by_key(|(number, _)| *number);
    made.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use anyhow::ensure;

    use super::*;

    #[test]
    fn results_have_the_order_of_their_items() {
        for threads in [0, 1, 3, 20] {
            let squares = map((0..10u64).collect(), threads, |n| n * n);
            assert_eq!(squares, (0..10u64).map(|n| n * n).collect::<Vec<_>>());
        }
        assert!(map(Vec::<u8>::new(), 2, |n| n).is_empty());
    }

    #[test]
    fn an_error_ends_the_work() {
        for threads in [1, 2] {
            let done = AtomicUsize::new(0);
            let result = for_each((0..1000).collect(), threads, |(): &mut (), n: i32| {
                done.fetch_add(1, Ordering::Relaxed);
                ensure!(n != 3, "three");
                thread::yield_now();
                Ok(())
            });
            assert_eq!(result.unwrap_err().to_string(), "three");
            assert!(done.into_inner() >= 4);
        }
    }
}
