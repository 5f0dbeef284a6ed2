//! Patches of volumes: where they lie, which files they come from, and the
//! loader that has them ready in time.

mod dataset;
mod files;
mod images;
mod labels;
mod loader;
mod loaders;
mod prefetch;
pub mod slices;
mod volumes;

pub use crate::volume::Window;
pub use dataset::{DataSet, Origin};
pub use files::{entries, file_paths, prediction_inputs, refuse_overlap};
pub use images::Images;
pub use labels::{LabelCheck, Outside};
pub use loader::{Batch, Batches, Loader, Position};
pub use loaders::{DatasetKind, LOADERS, Loaders, PHASE, required};
pub use prefetch::Prefetch;
pub use volumes::VolumePatches;
