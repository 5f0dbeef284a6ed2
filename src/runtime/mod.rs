//! What every command needs of its surroundings: signals, the share of the work,
//! memory, messages and progress.

pub mod memory;
pub mod report;
pub mod shard;
pub mod signals;
