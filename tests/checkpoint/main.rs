//! Checkpoints: reading and writing the format, kills, full disks, and the fuzzing corpus.

#[path = "../support/mod.rs"]
mod support;

mod archives;
mod crash;
mod foreign;
mod format;
mod fuzz_corpus;

// `fuzz/readers`, shared with the fuzzers, expect these modules at the root of the crate.
use unet3d::{checkpoint, config};
