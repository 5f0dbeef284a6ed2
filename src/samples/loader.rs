//! Batches of samples, prepared ahead by worker threads.

use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context, Result};

use super::prefetch::{Prefetch, guarded};
use super::sample_set::{Origin, SampleSet};
use crate::augment::stream::{RandomSource as _, StreamKey};
use crate::volume::Sample;

/// Gives out the samples of a data set in batches, in order or shuffled.
///
/// The batches are the same whatever the number of workers.
#[derive(Clone)]
pub struct Loader {
    data: Arc<dyn SampleSet>,
    batch_size: usize,
    order: Order,
    workers: usize,
    ahead: usize,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    InOrder,
    /// Drawn anew in every epoch, from this seed.
    Shuffled(u64),
}

/// Where training stands: the next batch is number `batch` of epoch `epoch`,
/// both counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub epoch: u64,
    pub batch: usize,
}

/// Some samples at once.
#[derive(Clone, Debug)]
pub struct SampleBatch {
    pub position: Position,
    /// Whether the epoch ends with this batch.
    pub ends_epoch: bool,
    pub samples: Vec<Sample>,
    /// Where each sample comes from.
    pub origins: Vec<Origin>,
}

impl Loader {
    /// A loader that goes through the data set in order.
    ///
    /// The number of workers is at most `num_workers` (at least one), the number
    /// of cores, and what fits into `memory` bytes.
    pub fn new(
        data: Arc<dyn SampleSet>,
        batch_size: usize,
        num_workers: usize,
        memory: usize,
    ) -> Loader {
        let cores = thread::available_parallelism().map_or(1, |n| n.get());
        let fitting = (memory / data.sample_bytes().max(1)).max(1);
        let workers = num_workers.max(1).min(cores).min(fitting);
        let batch_size = batch_size.max(1);
        // Enough that the next batch is ready while this one is computed on.
        let ahead = (2 * workers + batch_size).min(fitting.max(workers));
        Loader { data, batch_size, order: Order::InOrder, workers, ahead }
    }

    /// Draws a new order for every epoch.
    pub fn shuffled(mut self, seed: u64) -> Loader {
        self.order = Order::Shuffled(seed);
        self
    }

    pub fn workers(&self) -> usize {
        self.workers
    }

    pub fn data(&self) -> &Arc<dyn SampleSet> {
        &self.data
    }

    pub fn batches_per_epoch(&self) -> usize {
        self.data.len().div_ceil(self.batch_size)
    }

    /// All batches of one epoch.
    pub fn epoch(&self, epoch: u64) -> Batches {
        self.run(Position { epoch, batch: 0 }, epoch + 1)
    }

    /// The batches from a position on, until `end_epoch` begins. The workers go
    /// on with the next epoch while the last batches of one are computed on.
    pub fn run(&self, from: Position, end_epoch: u64) -> Batches {
        let length = self.data.len() as u64;
        let start = (from.batch as u64 * self.batch_size as u64).min(length);
        let first = from.epoch.saturating_mul(length).saturating_add(start);
        let items = first..end_epoch.saturating_mul(length);
        let data = self.data.clone();
        let orders = Orders { order: self.order, length: self.data.len(), known: Mutex::default() };
        let samples = Prefetch::new(items, self.workers, self.ahead, move |number| {
            let (epoch, place) = (number / length, (number % length) as usize);
            let index = orders.index(epoch, place);
            let origin = data.origin(epoch, index);
            let sample =
                guarded(|| data.sample(epoch, index)).with_context(|| origin.to_string())?;
            Ok((sample, origin))
        });
        let mut position = from;
        if start == length {
            position = Position { epoch: from.epoch + 1, batch: 0 };
        }
        Batches { samples, position, length: self.data.len(), batch_size: self.batch_size }
    }
}

/// The order of each epoch that is being worked on.
struct Orders {
    order: Order,
    length: usize,
    known: Mutex<Vec<(u64, Arc<Vec<usize>>)>>,
}

impl Orders {
    fn index(&self, epoch: u64, place: usize) -> usize {
        let Order::Shuffled(seed) = self.order else { return place };
        let mut known = self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((_, order)) = known.iter().find(|(known, _)| *known == epoch) {
            return order[place];
        }
        // Workers are in two epochs at most when an epoch is long, and in more
        // of them only when they are short and quickly drawn again.
        if known.len() == 4 {
            known.remove(0);
        }
        let order = Arc::new(shuffle(self.length, seed, epoch));
        known.push((epoch, order.clone()));
        order[place]
    }
}

/// Fisher and Yates's shuffle with a stream of its own for each epoch.
fn shuffle(length: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let key = StreamKey { seed, epoch, sample: 0, name: "shuffle", occurrence: 0, data_set: None };
    let mut stream = key.open();
    let mut order: Vec<_> = (0..length).collect();
    for last in (1..length).rev() {
        order.swap(last, stream.index(last + 1));
    }
    order
}

/// The batches of a [`Loader`]. Dropping it stops the workers.
pub struct Batches {
    samples: Prefetch<(Sample, Origin)>,
    position: Position,
    length: usize,
    batch_size: usize,
}

impl Iterator for Batches {
    type Item = Result<SampleBatch>;

    fn next(&mut self) -> Option<Result<SampleBatch>> {
        if self.length == 0 {
            return None;
        }
        let done = self.position.batch * self.batch_size;
        let count = self.batch_size.min(self.length - done);
        let (mut samples, mut origins) = (Vec::new(), Vec::new());
        while samples.len() < count {
            match self.samples.next()? {
                Ok((sample, origin)) => {
                    samples.push(sample);
                    origins.push(origin);
                }
                Err(error) => return Some(Err(error)),
            }
        }
        let position = self.position;
        let ends_epoch = done + count == self.length;
        self.position = if ends_epoch {
            Position { epoch: position.epoch + 1, batch: 0 }
        } else {
            Position { batch: position.batch + 1, ..position }
        };
        Some(Ok(SampleBatch { position, ends_epoch, samples, origins }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Volume;
    use ndarray::Array4;
    use std::path::PathBuf;

    /// Samples that hold their epoch and index.
    struct Numbers(usize);

    impl SampleSet for Numbers {
        fn len(&self) -> usize {
            self.0
        }

        fn sample(&self, epoch: u64, index: usize) -> Result<Sample> {
            anyhow::ensure!(index != 77, "no 77");
            assert!(index != 88, "88 is impossible");
            let values = vec![epoch as i64, index as i64];
            let raw = Volume::plain(Array4::from_shape_vec((1, 1, 1, 2), values).unwrap());
            Ok(Sample { raw, label: None, weight: None })
        }

        fn origin(&self, _: u64, index: usize) -> Origin {
            Origin { path: PathBuf::from(format!("{index}.h5")), window: None }
        }

        fn sample_bytes(&self) -> usize {
            100
        }
    }

    fn loader(length: usize, batch: usize, workers: usize) -> Loader {
        Loader::new(Arc::new(Numbers(length)), batch, workers, 1 << 20)
    }

    fn contents(batches: Batches) -> Vec<(Position, bool, Vec<Vec<i64>>)> {
        batches
            .map(|batch| {
                let batch = batch.unwrap();
                let samples = batch.samples.into_iter().map(|sample| match sample.raw.values {
                    crate::volume::Values::I64(a) => a.into_raw_vec_and_offset().0,
                    _ => unreachable!(),
                });
                (batch.position, batch.ends_epoch, samples.collect())
            })
            .collect()
    }

    #[test]
    fn batches_in_order_with_a_smaller_last_one() {
        let found = contents(loader(5, 2, 3).epoch(4));
        let at = |batch| Position { epoch: 4, batch };
        assert_eq!(
            found,
            [
                (at(0), false, vec![vec![4, 0], vec![4, 1]]),
                (at(1), false, vec![vec![4, 2], vec![4, 3]]),
                (at(2), true, vec![vec![4, 4]]),
            ]
        );
        assert_eq!(loader(5, 2, 3).batches_per_epoch(), 3);
    }

    #[test]
    fn every_epoch_is_shuffled_anew_whatever_the_workers() {
        let run = |workers| contents(loader(7, 3, workers).shuffled(9).run(Position::default(), 3));
        let one = run(1);
        assert_eq!(one, run(4));
        let epochs: Vec<Vec<i64>> = (0..3)
            .map(|epoch| {
                let samples = one.iter().flat_map(|(_, _, samples)| samples);
                samples.filter(|s| s[0] == epoch).map(|s| s[1]).collect()
            })
            .collect();
        for epoch in &epochs {
            let mut sorted = epoch.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..7).collect::<Vec<_>>());
        }
        assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
        let other = contents(loader(7, 3, 1).shuffled(10).epoch(0));
        assert_ne!(other, one[..3]);
    }

    #[test]
    fn a_run_goes_on_in_mid_epoch() {
        let all = contents(loader(7, 2, 2).shuffled(3).run(Position::default(), 3));
        for stop in 0..all.len() {
            let rest = contents(loader(7, 2, 3).shuffled(3).run(all[stop].0, 3));
            assert_eq!(rest, all[stop..]);
        }
        // After the last batch of an epoch stands the first of the next.
        let behind = Position { epoch: 0, batch: 4 };
        assert_eq!(contents(loader(7, 2, 3).shuffled(3).run(behind, 3)), all[4..]);
    }

    #[test]
    fn what_goes_wrong_names_the_file() {
        let failing = |length| {
            loader(length, 1, 2).epoch(0).find_map(|batch| batch.err()).map(|e| format!("{e:#}"))
        };
        assert_eq!(failing(77), None);
        assert_eq!(failing(78).unwrap(), "77.h5: no 77");
        let mut panicking = loader(89, 1, 2).run(Position { epoch: 0, batch: 88 }, 1);
        let error = format!("{:#}", panicking.next().unwrap().unwrap_err());
        assert!(error.starts_with("88.h5: ") && error.contains("88 is impossible"), "{error}");
        assert!(panicking.next().is_none());
    }

    #[test]
    fn memory_limits_the_workers() {
        let small = Loader::new(Arc::new(Numbers(9)), 4, 64, 100);
        assert_eq!((small.workers(), small.ahead), (1, 1));
        assert_eq!(contents(small.epoch(0)).len(), 3);
        let cores = thread::available_parallelism().unwrap().get();
        assert_eq!(loader(9, 4, 64).workers(), cores.min(64));
        assert_eq!(loader(9, 4, 0).workers(), 1);
    }
}
