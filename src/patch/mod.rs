//! Slice builders, data sets and the loader that prefetches samples.

mod files;
mod loaders;

pub use files::{file_paths, prediction_inputs, refuse_overlap};
pub use loaders::{DatasetKind, LOADERS, Loaders, PHASE, required};
