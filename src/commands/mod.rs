//! One recipe a command.

mod check;
mod data;
pub mod make_training_data;
mod plan;
mod predict;
mod settings;
mod train;

pub use check::check;
pub use predict::predict;
pub use settings::{Settings, TOP};
pub use train::train;
