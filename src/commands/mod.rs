//! One recipe a command.

mod check;
mod make_training_data;
mod predict;
pub mod reference;
mod settings;
mod train;

pub use check::check;
pub use make_training_data::make_training_data;
pub use predict::predict;
pub use settings::{Settings, TOP};
pub use train::train;
