//! Checkpoints: the format both ways, kills and full disks, what fuzzers found.

mod archives;
mod crash;
mod format;
mod fuzz_corpus;

// The readers that fuzzing shares with the tests name them as this crate's.
use unet3d::{checkpoint, config};
