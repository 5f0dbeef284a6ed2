//! Prediction and stitching.

#[path = "../support/mod.rs"]
mod support;

mod embeddings;
mod existing;
mod formats;
mod from_checkpoint;
mod numbers;
mod packages;
mod program;
mod random_setups;
mod recorded;
mod stitch;
mod surroundings;
mod swap;
mod upstream;
