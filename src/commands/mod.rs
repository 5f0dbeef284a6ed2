//! One recipe a command.

mod check;
mod completions;
mod convert;
mod estimate;
mod evaluate;
mod explain;
mod export;
mod import;
mod info;
mod instances;
mod make_label_input;
mod make_training_data;
mod name_cells;
mod predict;
mod ranks;
pub mod reference;
mod settings;
mod train;

pub use check::check;
pub use completions::{completions, man};
pub use convert::convert;
pub use evaluate::evaluate;
pub use explain::explain;
pub use export::export;
pub use import::import;
pub use info::info;
pub use instances::{INSTANCES, instances, stage};
pub use make_label_input::make_label_input;
pub use make_training_data::make_training_data;
pub use name_cells::name_cells;
pub use predict::predict;
pub use settings::{CommandSettings, TOP};
pub use train::train;
