//! Services for every command: signals, shares of the work, memory, messages and progress.

pub mod memory;
pub mod report;
pub mod shard;
pub mod signals;
