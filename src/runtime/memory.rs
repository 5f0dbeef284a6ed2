//! Free memory of the system.

use std::fs;

use anyhow::{Result, ensure};

/// Size in bytes below which arrays are allocated without checking the free memory.
const SMALL: u128 = 256 << 20;

/// Bytes of memory that are available to programs; `None` if the system does not report it.
pub fn available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Bytes of an array whose elements take `element` bytes each; at most the largest
/// number there is.
pub fn bytes(shape: &[usize], element: usize) -> u128 {
    shape.iter().fold(element as u128, |bytes, &n| bytes.saturating_mul(n as u128))
}

/// Checks that the system has the memory for an array. Without the check it would
/// kill the program in the midst of reading, without a message.
///
/// # Errors
/// A large array that takes more bytes than are available.
pub fn ensure_room(shape: &[usize], element: usize) -> Result<()> {
    let wanted = bytes(shape, element);
    if wanted < SMALL {
        return Ok(());
    }
    let Some(free) = available().map(u128::from) else { return Ok(()) };
    let gb = |bytes: u128| bytes as f64 / 1e9;
    ensure!(
        wanted <= free,
        "{shape:?} voxels take {wanted} bytes ({:.1} GB) of memory, and {:.1} GB are free; \
         `loaders.dataset: LazyHDF5Dataset` reads patches from the file instead",
        gb(wanted),
        gb(free)
    );
    Ok(())
}
