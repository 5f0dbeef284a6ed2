//! Memory of the system.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

/// Size in bytes below which arrays are allocated without checking the free memory.
const SMALL: u128 = 256 << 20;

/// Bytes of memory that are available to programs; `None` if the system does not report it.
pub fn available() -> Option<u64> {
    entry("MemAvailable:")
}

/// Bytes of memory that a program can have at most on this machine: its memory with
/// swap, or the limit of the control group (of a container or batch job) if that is
/// less. `None` if the system does not report it.
pub fn total() -> Option<u64> {
    let all = entry("MemTotal:")? + entry("SwapTotal:").unwrap_or(0);
    Some(limits().fold(all, u64::min))
}

/// An entry of `/proc/meminfo` in bytes.
fn entry(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// The limits in bytes of the control groups that this process is in.
fn limits() -> impl Iterator<Item = u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let lines: Vec<String> = groups.lines().map(str::to_string).collect();
    lines.into_iter().flat_map(|line| {
        // `0::/path` is version 2, `4:memory:/path` version 1.
        let mut parts = line.splitn(3, ':').skip(1);
        let (root, file) = match parts.next().unwrap_or_default() {
            "" => ("/sys/fs/cgroup", "memory.max"),
            kinds if kinds.split(',').any(|kind| kind == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return Vec::new(),
        };
        let path = Path::new(parts.next().unwrap_or_default().trim_start_matches('/'));
        // Within a container the path may be that of the host: its end is the root.
        let folders = path.ancestors().map(|folder| Path::new(root).join(folder).join(file));
        let limits = folders.filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
        limits.collect()
    })
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
    ensure_bytes(
        bytes(shape, element),
        || format!("{shape:?} voxels"),
        "`loaders.dataset: LazyHDF5Dataset` reads patches from the file instead",
    )
}

/// As [`ensure_room`], of anything that takes so many bytes. `what` takes them, as in
/// "[3, 4, 5] voxels", and `remedy` says what can be done.
///
/// # Errors
/// More bytes than are available.
pub fn ensure_bytes(wanted: u128, what: impl Fn() -> String, remedy: &str) -> Result<()> {
    if wanted < SMALL {
        return Ok(());
    }
    let Some(free) = available().map(u128::from) else { return Ok(()) };
    let gb = |bytes: u128| bytes as f64 / 1e9;
    ensure!(
        wanted <= free,
        "{} take {wanted} bytes ({:.1} GB) of memory, and {:.1} GB are free; {remedy}",
        what(),
        gb(wanted),
        gb(free)
    );
    Ok(())
}
