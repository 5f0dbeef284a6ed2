//! Processes that train one network together: how they start, find each other, sum, and end.
//!
//! Each process is a rank. A [`Place`] says which one this is; [`Group`] sums over all of them.
//! A group of one costs nothing and opens no port. [`start`] starts the ranks of one machine.
//!
//! The processes meet in a key-value store that rank 0 serves (c10d's `TCPStore`), and sum
//! through Gloo. A rank that fails writes its cause into the store before it ends; one that
//! dies is told by its heartbeat. The first that knows a cause prints it, so that there is one
//! error whatever the number of ranks.

mod failure;
mod group;
mod place;
mod start;

pub use failure::{Differs, Failed};
pub use group::Group;
pub use place::{Place, PlaceError};
pub use start::{Ended, Ranks, UNTOLD, die_with_parent};
