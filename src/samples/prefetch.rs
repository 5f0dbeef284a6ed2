//! Threads that make numbered items ahead of the one who takes them, in order.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use anyhow::{Result, anyhow};

use crate::runtime::report::panic_text;

/// Items made by worker threads, delivered in order.
///
/// At most `ahead` items are under way or waiting at a time. The first error, or
/// panic of a worker, is delivered in its turn and ends the iteration. Dropping
/// it stops the workers.
pub struct Prefetch<T> {
    shared: Arc<Shared<T>>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Something was taken: there is room for another item.
    room: Condvar,
    /// Something was made.
    made: Condvar,
}

struct State<T> {
    /// The next item to make, the next to deliver, and the end.
    make: u64,
    deliver: u64,
    end: u64,
    ahead: u64,
    ready: BTreeMap<u64, Result<T>>,
    stopped: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.room.notify_all();
    }
}

impl<T: Send + 'static> Prefetch<T> {
    /// Starts `workers` threads that call `make` with the numbers of `items`.
    pub fn new(
        items: Range<u64>,
        workers: usize,
        ahead: usize,
        make: impl Fn(u64) -> Result<T> + Send + Sync + 'static,
    ) -> Prefetch<T> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                make: items.start,
                deliver: items.start,
                end: items.end.max(items.start),
                ahead: ahead.max(1) as u64,
                ready: BTreeMap::new(),
                stopped: false,
            }),
            room: Condvar::new(),
            made: Condvar::new(),
        });
        let make = Arc::new(make);
        let mut threads = Vec::new();
        for number in 0..workers.max(1) {
            let (own, make) = (shared.clone(), make.clone());
            let thread = thread::Builder::new().name(format!("loader-{number}"));
            match thread.spawn(move || work(&own, &*make)) {
                Ok(thread) => threads.push(thread),
                // The others do the work; without any there is nobody to wait for.
                Err(error) if number == 0 => {
                    let error = anyhow!("no thread can be started for the loader: {error}");
                    shared.lock().ready.insert(items.start, Err(error));
                    break;
                }
                Err(_) => break,
            }
        }
        Prefetch { shared, workers: threads }
    }
}

fn work<T>(shared: &Shared<T>, make: &dyn Fn(u64) -> Result<T>) {
    loop {
        let number = {
            let mut state = shared.lock();
            while !state.stopped
                && state.make < state.end
                && state.make >= state.deliver + state.ahead
            {
                state = shared.room.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
            if state.stopped || state.make >= state.end {
                return;
            }
            state.make += 1;
            state.make - 1
        };
        let item = guarded(|| make(number));
        shared.lock().ready.insert(number, item);
        shared.made.notify_all();
    }
}

/// Runs a closure; a panic in it becomes an error.
pub(super) fn guarded<T>(make: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(make)).unwrap_or_else(|panic| {
        let cause = panic_text(&*panic);
        Err(anyhow!("a worker of the loader panicked, which is a fault of this program: {cause}"))
    })
}

impl<T> Iterator for Prefetch<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        let mut state = self.shared.lock();
        if state.stopped || state.deliver >= state.end {
            return None;
        }
        let item = loop {
            let number = state.deliver;
            match state.ready.remove(&number) {
                Some(item) => break item,
                None => {
                    state = self
                        .shared
                        .made
                        .wait(state)
                        .unwrap_or_else(|poisoned| poisoned.into_inner());
                }
            }
        };
        state.deliver += 1;
        drop(state);
        self.shared.room.notify_all();
        if item.is_err() {
            self.shared.stop();
        }
        Some(item)
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        self.shared.stop();
        for worker in self.workers.drain(..) {
            // It can only have panicked outside of what `guarded` guards.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    #[test]
    fn items_come_in_order_from_any_number_of_workers() {
        for workers in [1, 2, 7] {
            let items = Prefetch::new(5..205, workers, 4, |n| {
                thread::sleep(Duration::from_micros(n * 37 % 101));
                Ok(n)
            });
            let items: Vec<u64> = items.collect::<Result<_>>().unwrap();
            assert_eq!(items, (5..205).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_more_than_allowed_is_made_ahead() {
        let made = Arc::new(AtomicU64::new(0));
        let counter = made.clone();
        let mut items = Prefetch::new(0..1000, 3, 5, move |n| {
            counter.fetch_add(1, Ordering::SeqCst);
            Ok(n)
        });
        for taken in 1..=20 {
            items.next().unwrap().unwrap();
            thread::sleep(Duration::from_millis(1));
            assert!(made.load(Ordering::SeqCst) <= taken + 5);
        }
        drop(items);
        let stopped = made.load(Ordering::SeqCst);
        thread::sleep(Duration::from_millis(5));
        assert_eq!(made.load(Ordering::SeqCst), stopped);
    }

    #[test]
    fn errors_and_panics_come_in_their_turn() {
        let mut items = Prefetch::new(0..100, 4, 8, |n| match n {
            3 => Err(anyhow!("no third")),
            _ => Ok(n),
        });
        for n in 0..3 {
            assert_eq!(items.next().unwrap().unwrap(), n);
        }
        assert_eq!(items.next().unwrap().unwrap_err().to_string(), "no third");
        assert!(items.next().is_none());

        let mut items = Prefetch::new(0..100, 4, 8, |n| {
            assert!(n != 2, "two is not allowed");
            Ok(n)
        });
        items.next();
        items.next();
        let error = items.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("panicked") && error.contains("two is not allowed"), "{error}");
    }

    #[test]
    fn an_empty_range_is_over_at_once() {
        assert!(Prefetch::new(3..3, 2, 2, Ok).next().is_none());
    }
}
