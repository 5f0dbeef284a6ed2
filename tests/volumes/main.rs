//! Volumes in files and in memory, and the samples made of them.

#[path = "../support/mod.rs"]
mod support;

mod bad_formats;
mod compact;
mod compact_samples;
mod damaged;
mod datasets;
mod file_pairs;
mod formats;
mod fuzz_corpus;
mod hdf5_input;
mod hdf5_output;
mod training_data;
mod voxel_size;
mod written;

// `fuzz/readers`, shared with the fuzzers, expect these modules at the root of the crate.
use unet3d::{format, volume};
