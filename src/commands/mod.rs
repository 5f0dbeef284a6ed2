//! One recipe a command.

mod check;
pub mod make_training_data;
mod predict;
mod settings;

pub use check::check;
pub use predict::predict;
pub use settings::{Settings, TOP};
