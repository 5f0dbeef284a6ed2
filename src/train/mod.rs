//! The training loop and its policies: when to validate, log, save and stop.
//!
//! A [`TrainingPlan`] is what the configuration says. A [`Learner`] is a network with all that training changes; [`Trainer`] feeds it.
//! An iteration trains on one batch; after it come, when due, validation with
//! scheduler step and checkpoint, then logging. Everything that decides how a run
//! goes on is in a [`RunRecord`], which checkpoints store, so that a resumed run is
//! the same run.

mod average;
mod batch;
mod beginning;
mod data;
mod directory;
mod dump;
mod earlier;
mod forecast;
mod images;
mod learner;
mod parts;
mod plan;
mod record;
mod settings;
mod step;
mod timing;
mod told;
mod trainer;

pub use average::Average;
pub use beginning::{Beginning, Start, Wish};
pub use data::{DataPlan, TrainingData};
pub use directory::{check_directory, claim_directory, refuse_running};
pub use earlier::first_difference;
pub use forecast::{Forecast, forecast, in_words};
pub use learner::{Copies, Learner};
pub use plan::{Criteria, LearnerSpec, TrainingPlan};
pub use record::{Computation, Progress, RunRecord, StepSize};
pub use settings::{OnNan, TRAINER, TrainerSpec};
pub use told::Told;
pub use trainer::{Ended, LOWEST_LEARNING_RATE, Trainer, TrainingRun};
