//! Patches of volumes: where they lie, which files they come from, and the
//! loader that has them ready in time.

mod files;
mod loaders;
pub mod slices;

pub use crate::volume::Window;
pub use files::{entries, file_paths, prediction_inputs, refuse_overlap};
pub use loaders::{DatasetKind, LOADERS, Loaders, PHASE, required};
