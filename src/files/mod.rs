//! Files and directories as such, whatever is in them: writing a file whole or
//! not at all, locks on directories, and listing files in natural order.

mod input;
mod list;
mod lock;
mod writable;
mod write;

pub use input::{InputFile, identity};
pub use list::{by_natural_order, list};
pub use lock::{Lock, lock_directory};
pub use writable::check_writable;
pub use write::{PartialFile, copy, remove_leftovers, write, write_new};
