//! Patches of volumes: where they lie, which files they come from, and the
//! loader that has them ready in time.

mod data_sets;
mod files;
mod images;
mod inspection;
mod labels;
mod loader;
mod loaders;
mod prefetch;
mod random_scale;
mod sample_set;
pub mod slices;
mod summary;
mod volumes;

pub use crate::volume::Window;
pub use data_sets::{DATA_SETS, DataSetEntry, InputCheck, Opening};
pub use files::{FilePaths, MADE_BY_PREDICTION, SampleFiles, entries, refuse_overlap};
pub use images::ImagePairs;
pub use inspection::Counting;
pub use labels::{LabelCheck, Outside};
pub use loader::{Batches, Division, Loader, Position, SampleBatch};
pub use loaders::{LOADERS, Loaders, PHASE, Patches, Phase, RandomScale};
pub use prefetch::Prefetch;
pub use sample_set::{Origin, SampleSet};
pub use summary::RawSummary;
pub use volumes::VolumePatches;
