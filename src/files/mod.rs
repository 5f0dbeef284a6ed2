//! Files and directories as such, whatever is in them: writing a file whole or
//! not at all, locks on directories, where paths lead, and listing files in natural
//! order; notes of the state of files, and seals of texts.

mod destination;
mod input;
mod leftovers;
mod list;
mod lock;
mod partial_directory;
mod record;
mod seal;
mod writable;
mod write;

pub use destination::{destination, is_taken};
pub use input::{FileState, InputFile, identity, open_ordinary, read_text};
pub use leftovers::remove_leftovers;
pub use list::{by_natural_order, list, list_paths};
pub use lock::{Lock, lock_directory};
pub use partial_directory::{PartialDirectory, remove, rename_if, sync_all_below};
pub use record::{is_current, record, recorded_input};
pub use seal::{SEAL, is_sealed, sealed, sha256_of};
pub use writable::check_writable;
pub use write::{PartialFile, copy, write, write_new};

/// Names of all that is in a folder, in order.
#[cfg(test)]
fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
