//! One recipe a command.

mod check;
mod predict;
mod settings;

pub use check::check;
pub use predict::predict;
pub use settings::{Settings, TOP};
