//! Slice builders, data sets and the loader that prefetches samples.

mod loaders;

pub use loaders::{DatasetKind, LOADERS, Loaders, PHASE, required};
