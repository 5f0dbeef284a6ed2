//! Patches out, stitching, writing: a pipeline of stages joined by bounded
//! channels.
//!
//! Three threads work on consecutive files: one reads and normalises patches
//! ([`read`]), one runs the network and adds its outputs up ([`network`]), one
//! compresses and writes finished planes ([`write`]). So the device waits for a
//! file only when none could be ready, and memory holds two inputs and one stack
//! of planes, whatever the number of files. A file that fails in any stage is
//! reported, the others go on.

mod job;
mod network;
mod output;
mod preview;
mod read;
mod run;
mod write;

pub use job::{Job, PREDICTOR};
pub use network::Network;
pub use output::{OutputSpec, is_up_to_date};
pub use run::{Outcome, run};
