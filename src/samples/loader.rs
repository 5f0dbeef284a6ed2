//! Batches of samples, prepared ahead by worker threads.
//!
//! A step of training may take several batches of each of several ranks. The samples of all
//! of them are those of one large batch: the order of an epoch does not depend on how it is
//! divided.

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
    division: Division,
    order: Order,
    workers: usize,
    ahead: usize,
    /// The most samples that are prepared ahead, by their memory.
    most_ahead: usize,
}

/// How the samples of a step are divided. With batches of b samples, the first batches of
/// all ranks are the first samples of the step, b for each rank in turn; then come the
/// second batches, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    /// This rank, counted from 0.
    pub rank: usize,
    /// Number of ranks.
    pub ranks: usize,
    /// Batches of each rank.
    pub batches: usize,
}

impl Division {
    /// A step of one batch on one rank.
    pub const NONE: Division = Division { rank: 0, ranks: 1, batches: 1 };
}

#[derive(Clone, Copy, Debug)]
enum Order {
    InOrder,
    /// Drawn anew in every epoch, from this seed.
    Shuffled(u64),
}

/// Where training stands: the next step is number `batch` of epoch `epoch`,
/// both counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub epoch: u64,
    pub batch: usize,
}

/// The samples of a step that belong to this rank.
#[derive(Clone, Debug)]
pub struct SampleBatch {
    pub position: Position,
    /// Whether the epoch ends with this step.
    pub ends_epoch: bool,
    /// Samples of the step on all ranks.
    pub total: usize,
    /// Those of this rank: its batches one after the other, all but the last full. There
    /// are none if the epoch ends before this rank's turn.
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
        let most_ahead = fitting.max(workers);
        let ahead = (2 * workers + batch_size).min(most_ahead);
        let (division, order) = (Division::NONE, Order::InOrder);
        Loader { data, batch_size, division, order, workers, ahead, most_ahead }
    }

    /// Draws a new order for every epoch.
    pub fn shuffled(mut self, seed: u64) -> Loader {
        self.order = Order::Shuffled(seed);
        self
    }

    /// Takes this rank's part of steps that are divided so.
    pub fn divided(mut self, division: Division) -> Loader {
        self.division = division;
        let own = self.batch_size * division.batches;
        self.ahead = (2 * self.workers + own).min(self.most_ahead);
        self
    }

    /// Samples of a batch.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Samples of a whole step on all ranks.
    pub fn step_size(&self) -> usize {
        self.share().step()
    }

    fn share(&self) -> Share {
        Share { length: self.data.len(), batch_size: self.batch_size, division: self.division }
    }

    pub fn workers(&self) -> usize {
        self.workers
    }

    pub fn data(&self) -> &Arc<dyn SampleSet> {
        &self.data
    }

    pub fn batches_per_epoch(&self) -> usize {
        self.data.len().div_ceil(self.step_size())
    }

    /// All steps of one epoch.
    pub fn epoch(&self, epoch: u64) -> Batches {
        self.run(Position { epoch, batch: 0 }, epoch + 1)
    }

    /// The steps from a position on, until `end_epoch` begins. The workers go
    /// on with the next epoch while the last steps of one are computed on.
    pub fn run(&self, from: Position, end_epoch: u64) -> Batches {
        let share = self.share();
        // Samples of this rank in an epoch.
        let own = share.before(self.batches_per_epoch()) as u64;
        let start = share.before(from.batch) as u64;
        let first = from.epoch.saturating_mul(own).saturating_add(start);
        let items = first..end_epoch.saturating_mul(own);
        let data = self.data.clone();
        let orders = Orders { order: self.order, length: self.data.len(), known: Mutex::default() };
        let samples = Prefetch::new(items, self.workers, self.ahead, move |number| {
            let (epoch, place) = (number / own, share.place((number % own) as usize));
            let index = orders.index(epoch, place);
            let origin = data.origin(epoch, index);
            let sample =
                guarded(|| data.sample(epoch, index)).with_context(|| origin.to_string())?;
            Ok((sample, origin))
        });
        let mut position = from;
        if from.batch >= self.batches_per_epoch() {
            position = Position { epoch: from.epoch + 1, batch: 0 };
        }
        Batches { samples, position, end_epoch, share }
    }
}

/// The places in the order of an epoch that belong to one rank.
#[derive(Clone, Copy, Debug)]
struct Share {
    /// Samples of an epoch.
    length: usize,
    batch_size: usize,
    division: Division,
}

impl Share {
    /// Samples of a step.
    fn step(&self) -> usize {
        self.batch_size * self.division.ranks * self.division.batches
    }

    /// How many of this rank's samples come before step `step` of an epoch.
    fn before(&self, step: usize) -> usize {
        let Division { rank, ranks, .. } = self.division;
        let round = self.batch_size * ranks;
        let end = step.saturating_mul(self.step()).min(self.length);
        let rest = (end % round).saturating_sub(rank * self.batch_size).min(self.batch_size);
        end / round * self.batch_size + rest
    }

    /// The place in the epoch of this rank's sample `index`.
    fn place(&self, index: usize) -> usize {
        let Division { rank, ranks, .. } = self.division;
        let (round, within) = (index / self.batch_size, index % self.batch_size);
        (round * ranks + rank) * self.batch_size + within
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

/// The steps of a [`Loader`]. Dropping it stops the workers.
pub struct Batches {
    samples: Prefetch<(Sample, Origin)>,
    position: Position,
    end_epoch: u64,
    share: Share,
}

impl Iterator for Batches {
    type Item = Result<SampleBatch>;

    fn next(&mut self) -> Option<Result<SampleBatch>> {
        let (share, position) = (self.share, self.position);
        if share.length == 0 || position.epoch >= self.end_epoch {
            return None;
        }
        let done = position.batch * share.step();
        let total = share.step().min(share.length - done);
        let count = share.before(position.batch + 1) - share.before(position.batch);
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
        let ends_epoch = done + total == share.length;
        self.position = if ends_epoch {
            Position { epoch: position.epoch + 1, batch: 0 }
        } else {
            Position { batch: position.batch + 1, ..position }
        };
        Some(Ok(SampleBatch { position, ends_epoch, total, samples, origins }))
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

    /// The samples of a step, in the order of all ranks' batches.
    #[test]
    fn steps_are_the_same_however_they_are_divided() {
        let (batch, length) = (2, 17);
        for (ranks, batches) in [(1, 1), (1, 3), (2, 1), (3, 2), (4, 1), (4, 3)] {
            let step = batch * ranks * batches;
            let whole = contents(loader(length, step, 2).shuffled(3).run(Position::default(), 2));
            let shares: Vec<_> = (0..ranks)
                .map(|rank| {
                    let division = Division { rank, ranks, batches };
                    let loader = loader(length, batch, 2).shuffled(3).divided(division);
                    assert_eq!(loader.batches_per_epoch(), length.div_ceil(step));
                    contents(loader.run(Position::default(), 2))
                })
                .collect();
            for (number, (position, ends, samples)) in whole.iter().enumerate() {
                let mut found: Vec<Vec<i64>> = Vec::new();
                for round in 0..batches {
                    for share in &shares {
                        assert_eq!((share[number].0, share[number].1), (*position, *ends));
                        let own = share[number].2.chunks(batch).nth(round);
                        found.extend(own.unwrap_or_default().to_vec());
                    }
                }
                assert_eq!(found, *samples, "{ranks} ranks, {batches} batches, step {number}");
            }
            for (rank, share) in shares.iter().enumerate() {
                assert_eq!(share.len(), whole.len());
                let division = Division { rank, ranks, batches };
                let loader = loader(length, batch, 2).shuffled(3).divided(division);
                for (at, step) in share.iter().enumerate() {
                    assert_eq!(contents(loader.run(step.0, 2)), share[at..]);
                }
            }
        }
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
