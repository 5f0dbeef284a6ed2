//! The training loop and its policies: when to validate, log, save and stop.
//!
//! [`Trainer`] owns all that a run changes. An iteration trains on one batch;
//! after it come, when due, validation with scheduler step and checkpoint, then
//! logging. Everything that decides how a run goes on is in [`Progress`], which
//! checkpoints store, so that a resumed run is the same run.

mod average;
mod batch;
mod dump;
mod images;
mod resume;
mod save;
mod settings;
mod step;
mod timing;
mod trainer;

pub use average::Average;
pub use resume::{Progress, resume};
pub use save::{RunNotes, claim_directory};
pub use settings::{OnNan, TRAINER, TrainerSpec};
pub use trainer::{Ended, Parts, Trainer};
