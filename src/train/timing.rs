//! Where the time of an iteration goes, for `-v`.

use std::fmt;
use std::time::{Duration, Instant};

use tch::Device;

use crate::ffi::tensor::synchronize;

/// The parts of an iteration, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Data,
    /// The pass without a graph of a step of several batches.
    FirstPass,
    Forward,
    Loss,
    Backward,
    Optimizer,
    Validation,
    Logging,
}

const NAMES: [&str; 8] =
    ["data", "first pass", "forward", "loss", "backward", "optimizer", "validation", "logging"];

/// A first pass that takes less was none.
const SHOWN: Duration = Duration::from_micros(50);

/// Adds up the time since the last mark under the part that has just ended.
#[derive(Debug)]
pub struct Timing {
    spent: [Duration; NAMES.len()],
    last: Instant,
    iterations: u32,
    /// Only when somebody looks: waiting for the device costs time itself.
    device: Option<Device>,
}

impl Timing {
    /// With `precise`, waits for the device at every mark.
    pub fn new(device: Device, precise: bool) -> Self {
        Timing {
            spent: [Duration::ZERO; NAMES.len()],
            last: Instant::now(),
            iterations: 0,
            device: precise.then_some(device),
        }
    }

    pub fn mark(&mut self, part: Part) {
        if let Some(Device::Cuda(index)) = self.device {
            // A device that fails here fails again where the error is handled.
            let _ = synchronize(index);
        }
        let now = Instant::now();
        self.spent[part as usize] += now - self.last;
        self.last = now;
    }

    /// An iteration has ended.
    pub fn next(&mut self) {
        self.iterations += 1;
    }

    /// The time since the last mark belongs to nothing that is counted.
    pub fn forget(&mut self) {
        self.last = Instant::now();
    }

    /// The mean split since the last call, and starts anew.
    pub fn take(&mut self) -> Split {
        let count = self.iterations.max(1);
        let split = Split { mean: self.spent.map(|time| time / count) };
        self.spent = [Duration::ZERO; NAMES.len()];
        self.iterations = 0;
        split
    }
}

/// Mean time of each part of an iteration.
#[derive(Clone, Copy, Debug)]
pub struct Split {
    mean: [Duration; NAMES.len()],
}

impl Split {
    pub fn total(&self) -> Duration {
        self.mean.iter().sum()
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4} s per iteration:", self.total().as_secs_f64())?;
        let (first_pass, parts) = (Part::FirstPass as usize, NAMES.iter().zip(self.mean));
        for (index, (name, time)) in parts.enumerate() {
            if index == first_pass && time < SHOWN {
                continue;
            }
            write!(f, " {name} {:.4}", time.as_secs_f64())?;
        }
        Ok(())
    }
}
