//! Configurations that nobody has to write, of a prediction from what a checkpoint tells of
//! its training, and what of written ones can hardly be meant.

mod agreement;
mod look;
mod prediction;
mod settings;
mod values;

pub use agreement::contradiction;
pub use look::{Look, look_at};
pub use prediction::{Files, prediction_of};
pub use settings::doubtful_settings;
pub use values::{Findings, describe_input, look_at_training};
