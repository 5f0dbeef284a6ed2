//! Peak memory of a part of a test.

#![allow(dead_code)]

use std::fs;
use std::sync::{Mutex, MutexGuard};

/// A lock that keeps other tests of this process from running during a measurement.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The peak of this process since [`Peak::start`]. Tests of one process run side
/// by side, so a test that measures is alone in its file or among small ones.
pub struct Peak {
    before: u64,
}

impl Peak {
    pub fn start() -> Peak {
        // Resets the peak of the process (proc(5)). Where that is not allowed, only growth
        // beyond the previous peak is measured.
        let reset = fs::write("/proc/self/clear_refs", "5").is_ok();
        Peak { before: status(if reset { "VmRSS:" } else { "VmHWM:" }) }
    }

    /// Bytes of the peak beyond the memory at the start.
    pub fn grown(&self) -> u64 {
        status("VmHWM:").saturating_sub(self.before)
    }
}

fn status(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}
