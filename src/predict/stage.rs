//! What else is made of the results of a run while they are written.

use std::fmt::Debug;

use anyhow::Result;
use ndarray::ArrayView4;

use super::files::FilePair;

/// Makes something of every result, without reading it again.
pub trait ResultStage: Debug + Send + Sync {
    /// Checks that what it makes of these results does not have one name, nor that of a file
    /// that it reads.
    ///
    /// # Errors
    /// Files that would take each other's place.
    fn check(&self, files: &[FilePair]) -> Result<()>;

    /// Whether what it makes of a result is there and up to date.
    fn is_up_to_date(&self, files: &FilePair) -> bool;

    /// Begins with a result of this size (z, y, x) and number of channels.
    ///
    /// # Errors
    /// What cannot be made, before the prediction is computed.
    fn begin(
        &self,
        files: &FilePair,
        size: [usize; 3],
        channels: usize,
    ) -> Result<Box<dyn ResultSink>>;
}

/// Takes a result box by box.
pub trait ResultSink {
    /// Takes a part (1, d, h, W) of a channel whose first row is at (z, y).
    fn add(&mut self, channel: usize, place: [usize; 2], values: ArrayView4<'_, f32>)
    -> Result<()>;

    /// All boxes have come, and the result has its name.
    fn finish(self: Box<Self>) -> Result<()>;
}
