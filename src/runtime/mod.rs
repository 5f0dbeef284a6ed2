//! Services for every command: signals, shares of the work, memory, messages and progress,
//! and what the surroundings of the process must not do to it.

pub mod memory;
pub mod report;
pub mod shard;
pub mod signals;
pub mod surroundings;
pub mod threads;
