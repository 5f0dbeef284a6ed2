//! Random streams, keyed so that draws depend on nothing but their key.
//!
//! A stream is named by (seed, epoch, sample, transform, occurrence): the n-th
//! `RandomFlip` of the raw list and the n-th of the label list draw the same
//! numbers, whatever else stands in the lists, and two transforms never share a
//! stream. Transforms that change intensities add the index of the data set.
//! The digest of the key seeds xoshiro256++, whose output is documented to stay
//! the same across releases.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rand::SeedableRng;
use sha2::{Digest, Sha256};

/// The random number generator behind every draw.
pub type Stream = rand_xoshiro::Xoshiro256PlusPlus;

/// Names a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    pub seed: u64,
    pub epoch: u64,
    /// Index of the sample in the concatenated data sets.
    pub sample: u64,
    /// Name of the transform or of another consumer of random numbers.
    pub name: &'a str,
    /// How many of that name came before in the same list.
    pub occurrence: u32,
    /// Index of the data set, for transforms that change intensities.
    pub data_set: Option<u64>,
}

impl Key<'_> {
    pub fn open(&self) -> Stream {
        let mut digest = Sha256::new();
        for number in [self.seed, self.epoch, self.sample, u64::from(self.occurrence)] {
            digest.update(number.to_le_bytes());
        }
        // Index 0 and "no index" must not meet.
        digest.update(self.data_set.map_or(0, |index| index + 1).to_le_bytes());
        digest.update(self.name.as_bytes());
        Stream::from_seed(digest.finalize().into())
    }
}

/// Values that the lists of one sample share, by (transform name, occurrence,
/// parameters that matter).
#[derive(Default)]
pub struct Shared(Mutex<HashMap<String, Arc<dyn Any + Send + Sync>>>);

impl Shared {
    /// The value under `key`, computed if this is the first to ask for it.
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
