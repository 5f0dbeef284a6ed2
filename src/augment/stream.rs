//! Random streams whose numbers depend on nothing but a key.
//!
//! The key of a stream is (seed, epoch, sample, transform, occurrence): the n-th `RandomFlip` of
//! the raw list and the n-th of the label list draw the same numbers, whatever else is in the
//! lists, and two different transforms never share a stream. Transforms that change intensities
//! add the index of the data set. The digest of the key seeds xoshiro256++, whose output is
//! documented to stay the same across releases.
//!
//! A transform opens its stream again for every volume. It first draws whether it is applied,
//! then its parameters in the order given in its documentation, then noise for each voxel in C
//! order. Transforms of the same name in the raw and the label list therefore draw the same
//! numbers if their parameters are the same.

use std::any::Any;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use sha2::{Digest, Sha256};

/// The random number generator of all streams.
pub type Stream = rand_xoshiro::Xoshiro256PlusPlus;

/// Identifies a sample of a run and with it all of its random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleKey {
    pub seed: u64,
    pub epoch: u64,
    /// Index of the sample in the concatenated data sets.
    pub sample: u64,
}

/// The key of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamKey<'a> {
    pub seed: u64,
    pub epoch: u64,
    /// Index of the sample in the concatenated data sets.
    pub sample: u64,
    /// Name of the transform or other user of random numbers.
    pub name: &'a str,
    /// Number of transforms of the same name before it in the list.
    pub occurrence: u32,
    /// Index of the data set (raw, label, weight), for transforms that change
    /// intensities.
    pub data_set: Option<u64>,
}

impl StreamKey<'_> {
    pub fn open(&self) -> Stream {
        let mut digest = Sha256::new();
        for number in [self.seed, self.epoch, self.sample, u64::from(self.occurrence)] {
            digest.update(number.to_le_bytes());
        }
        // Index 0 and no index must give different keys.
        digest.update(self.data_set.map_or(0, |index| index + 1).to_le_bytes());
        digest.update(self.name.as_bytes());
        Stream::from_seed(digest.finalize().into())
    }
}

/// The random numbers that transforms need.
pub trait RandomSource {
    /// Uniform in [0, 1).
    fn uniform(&mut self) -> f64;
    /// True with probability `p`; always consumes one number.
    fn chance(&mut self, p: f64) -> bool;
    /// Uniform in [`low`, `high`).
    fn between(&mut self, low: f64, high: f64) -> f64;
    /// Uniform over the integers 0, …, `count` − 1.
    fn index(&mut self, count: usize) -> usize;
    /// A uniform integer of the range, which is `range.start` if it is empty.
    fn integer(&mut self, range: Range<i64>) -> i64;
    /// Normal with that mean and standard deviation.
    fn normal(&mut self, mean: f64, deviation: f64) -> f64;
}

impl RandomSource for Stream {
    fn uniform(&mut self) -> f64 {
        self.random()
    }

    fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    fn index(&mut self, count: usize) -> usize {
        self.random_range(0..count)
    }

    fn integer(&mut self, range: Range<i64>) -> i64 {
        if range.is_empty() { range.start } else { self.random_range(range) }
    }

    fn normal(&mut self, mean: f64, deviation: f64) -> f64 {
        let z: f64 = self.sample(StandardNormal);
        mean + deviation * z
    }
}

/// Values that the lists of a sample share, by transform name, occurrence and the parameters on
/// which they depend.
#[derive(Default)]
pub struct Shared(Mutex<HashMap<String, Arc<dyn Any + Send + Sync>>>);

impl Shared {
    /// The value for `key`; the first caller computes it.
    pub fn get<T: Any + Send + Sync>(&self, key: String, compute: impl FnOnce() -> T) -> Arc<T> {
        let mut values = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(found) = values.get(&key).and_then(|value| value.clone().downcast().ok()) {
            return found;
        }
        let value = Arc::new(compute());
        values.insert(key, value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: StreamKey<'static> = StreamKey {
        seed: 1,
        epoch: 2,
        sample: 3,
        name: "RandomFlip",
        occurrence: 0,
        data_set: None,
    };

    fn first(key: StreamKey<'_>) -> u64 {
        key.open().random()
    }

    #[test]
    fn every_part_of_the_key_opens_another_stream() {
        let others = [
            StreamKey { seed: 2, ..KEY },
            StreamKey { epoch: 3, ..KEY },
            StreamKey { sample: 2, ..KEY },
            StreamKey { name: "RandomRotate90", ..KEY },
            StreamKey { occurrence: 1, ..KEY },
            StreamKey { data_set: Some(0), ..KEY },
            StreamKey { data_set: Some(1), ..KEY },
        ];
        let mut draws: Vec<u64> = others.into_iter().map(first).collect();
        draws.push(first(KEY));
        draws.sort_unstable();
        draws.dedup();
        assert_eq!(draws.len(), others.len() + 1);
        assert_eq!(first(KEY), first(KEY));
    }

    #[test]
    fn a_stream_is_xoshiro_seeded_with_the_digest() {
        // From an implementation of the definition in Python: SHA-256 of the key,
        // xoshiro256++, the upper 53 bits. A change would alter every seeded run.
        let wanted = [0.25417178308058486, 0.36328475010786576, 0.19117701206459625];
        let mut stream = KEY.open();
        assert_eq!([(); 3].map(|()| stream.uniform()), wanted);
    }

    #[test]
    fn draws_have_the_moments_of_their_distributions() {
        let mut stream = KEY.open();
        let count = 200_000;
        let mut mean_and_variance = |draw: &mut dyn FnMut(&mut Stream) -> f64| {
            let values: Vec<f64> = (0..count).map(|_| draw(&mut stream)).collect();
            let mean = values.iter().sum::<f64>() / count as f64;
            let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count as f64;
            (mean, variance)
        };
        let (mean, variance) = mean_and_variance(&mut |s| s.between(2.0, 5.0));
        assert!((mean - 3.5).abs() < 0.01 && (variance - 0.75).abs() < 0.01);
        let (mean, variance) = mean_and_variance(&mut |s| s.normal(1.0, 2.0));
        assert!((mean - 1.0).abs() < 0.02 && (variance - 4.0).abs() < 0.06);
        let (mean, variance) = mean_and_variance(&mut |s| s.integer(-3..3) as f64);
        assert!((mean + 0.5).abs() < 0.02 && (variance - 35.0 / 12.0).abs() < 0.04);
        let (mean, _) = mean_and_variance(&mut |s| f64::from(s.chance(0.2)));
        assert!((mean - 0.2).abs() < 0.005);
    }

    #[test]
    fn an_empty_range_is_its_start() {
        assert_eq!(KEY.open().integer(0..0), 0);
    }

    #[test]
    fn shared_values_are_computed_once() {
        let shared = Shared::default();
        let first = shared.get("a".into(), || 1u32);
        let again = shared.get("a".into(), || 2u32);
        assert_eq!((*first, *again, *shared.get("b".into(), || 3u32)), (1, 1, 3));
    }
}
