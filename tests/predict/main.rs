//! Prediction and stitching.

#[path = "../support/mod.rs"]
mod support;

mod numbers;
mod program;
mod recorded;
mod stitch;
