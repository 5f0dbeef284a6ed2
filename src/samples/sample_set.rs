//! What the loader needs of training samples, whatever they are read from.

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;

use super::RawSummary;
use crate::volume::{Sample, Window};

/// Samples that can be made in any order, by several threads at once.
///
/// What a sample holds depends on the run's seed, the epoch and its index only.
pub trait SampleSet: Send + Sync {
    /// Samples of an epoch.
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes a sample: cuts it out and transforms it. Errors leave it to the caller
    /// to name the [`Origin`].
    fn sample(&self, epoch: u64, index: usize) -> Result<Sample>;

    /// Where a sample comes from, for messages.
    fn origin(&self, epoch: u64, index: usize) -> Origin;

    /// A rough upper bound of the memory that making one sample takes.
    fn sample_bytes(&self) -> usize;

    /// What the raw data are like; `None` for whole images.
    fn summary(&self) -> Option<RawSummary> {
        None
    }
}

/// The file and the part of it that a sample was cut from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub path: PathBuf,
    /// `None` for whole images.
    pub window: Option<Window>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.window {
            Some(window) => write!(f, "{}, patch {window}", self.path.display()),
            None => write!(f, "{}", self.path.display()),
        }
    }
}
