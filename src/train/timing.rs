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
    /// Waiting for the slowest rank.
    Waiting,
    /// Sums over all ranks.
    Summing,
    Optimizer,
    Validation,
    Logging,
}

const NAMES: [&str; 10] = [
    "data",
    "first pass",
    "forward",
    "loss",
    "backward",
    "waiting",
    "summing",
    "optimizer",
    "validation",
    "logging",
];

/// A part that takes less, and that most runs do not have, was none.
const SHOWN: Duration = Duration::from_micros(50);

/// Adds up the time since the last mark under the part that has just ended.
#[derive(Debug)]
pub struct Timing {
    spent: [Duration; NAMES.len()],
    last: Instant,
    iterations: u32,
    /// Only when somebody looks: waiting for the device costs time itself.
    device: Option<Device>,
    /// When the ranks last met, and what they had then spent in their sums.
    met: (Instant, Duration),
    /// What the ranks had spent in their sums at the last look.
    summed: Duration,
    /// What this iteration has spent in them.
    in_sums: Duration,
    /// How often each rank has come last since the last split.
    last_ranks: Vec<u32>,
}

impl Timing {
    /// With `precise`, waits for the device at every mark.
    pub fn new(device: Device, precise: bool) -> Self {
        Timing {
            spent: [Duration::ZERO; NAMES.len()],
            last: Instant::now(),
            iterations: 0,
            device: precise.then_some(device),
            met: (Instant::now(), Duration::ZERO),
            summed: Duration::ZERO,
            in_sums: Duration::ZERO,
            last_ranks: Vec::new(),
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

    /// As [`Timing::mark`], of a part in which ranks sum: `spent` is what they have spent in
    /// sums since the run began. This iteration's share of it counts as summing.
    pub fn mark_with_sums(&mut self, part: Part, spent: Duration) {
        self.mark(part);
        let within = spent.saturating_sub(self.summed);
        self.summed = spent;
        self.in_sums += within;
        let part = &mut self.spent[part as usize];
        *part = part.saturating_sub(within);
        self.spent[Part::Summing as usize] += within;
    }

    /// Seconds that this rank has worked since the ranks last met; `spent` as for
    /// [`Timing::mark_with_sums`].
    pub fn worked(&self, spent: Duration) -> f64 {
        let (met, before) = self.met;
        met.elapsed().saturating_sub(spent.saturating_sub(before)).as_secs_f64()
    }

    /// The ranks have met after so many seconds of work of each; this one took `own`. What it
    /// waited for the slowest counts as that, not as summing.
    pub fn met(&mut self, seconds: &[f64], own: f64, spent: Duration) {
        self.met = (Instant::now(), spent);
        let in_sums = std::mem::take(&mut self.in_sums);
        let Some((slowest, most)) =
            seconds.iter().copied().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b))
        else {
            return;
        };
        self.last_ranks.resize(seconds.len(), 0);
        self.last_ranks[slowest] += 1;
        let waited = Duration::from_secs_f64((most - own).clamp(0.0, 1e9)).min(in_sums);
        self.spent[Part::Summing as usize] -= waited.min(self.spent[Part::Summing as usize]);
        self.spent[Part::Waiting as usize] += waited;
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
        let slowest = self.last_ranks.iter().copied().enumerate().max_by_key(|(_, often)| *often);
        self.last_ranks.clear();
        let split = Split { mean: self.spent.map(|time| time / count), slowest, count };
        self.spent = [Duration::ZERO; NAMES.len()];
        self.iterations = 0;
        split
    }
}

/// Mean time of each part of an iteration.
#[derive(Clone, Copy, Debug)]
pub struct Split {
    mean: [Duration; NAMES.len()],
    /// The rank that came last most often, and how often; iterations in all.
    slowest: Option<(usize, u32)>,
    count: u32,
}

impl Split {
    pub fn total(&self) -> Duration {
        self.mean.iter().sum()
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4} s per iteration:", self.total().as_secs_f64())?;
        let rare = [Part::FirstPass, Part::Waiting, Part::Summing].map(|part| part as usize);
        for (index, (name, time)) in NAMES.iter().zip(self.mean).enumerate() {
            if rare.contains(&index) && time < SHOWN {
                continue;
            }
            write!(f, " {name} {:.4}", time.as_secs_f64())?;
        }
        if let Some((rank, often)) = self.slowest {
            write!(f, "; rank {rank} came last in {often} of {}", self.count)?;
        }
        Ok(())
    }
}
