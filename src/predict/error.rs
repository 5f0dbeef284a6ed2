//! Why a stage of the pipeline stops working on a file.

use tch::TchError;

use crate::device::{Failure, failure};

/// Why a stage of the pipeline stops working on a file.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The next stage has ended, or the run is to stop: nothing more is wanted.
    #[error("the run has ended")]
    Ended,
    /// The device can no longer be used by this process, for any file.
    #[error("{0:#}")]
    DeviceLost(anyhow::Error),
    /// This file failed; the next one may succeed.
    #[error("{0:#}")]
    File(anyhow::Error),
}

impl From<anyhow::Error> for StageError {
    fn from(error: anyhow::Error) -> Self {
        match failure(&error) {
            Failure::ContextLost => StageError::DeviceLost(error),
            Failure::OutOfMemory | Failure::Other => StageError::File(error),
        }
    }
}

impl From<TchError> for StageError {
    fn from(error: TchError) -> Self {
        anyhow::Error::from(error).into()
    }
}
