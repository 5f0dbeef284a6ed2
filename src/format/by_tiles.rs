//! Reading a part of a volume tile by tile, as files store it.

use std::ops::Range;

use anyhow::Result;
use ndarray::{Array4, ArrayViewMut4};

use super::stored::Stored;
use crate::volume::Window;
use crate::volume::tiles::{for_each, split};

/// Fills the part that channels and window make, cut along a grid that has a line at 0
/// and every `step` (c, z, y, x), with that many threads. `read` fills the tile that
/// begins at a place of the volume; it may use the bytes, which it finds as it left them.
pub(super) fn read_by_tiles<S: Stored>(
    channels: Range<usize>,
    window: &Window,
    step: [usize; 4],
    threads: usize,
    read: impl Fn(&mut Vec<u8>, [usize; 4], ArrayViewMut4<'_, S::Memory>) -> Result<()> + Sync,
) -> Result<Array4<S::Memory>> {
    let [d, h, w] = window.size;
    let [z, y, x] = window.origin;
    let mut out = Array4::from_elem((channels.len(), d, h, w), S::Memory::default());
    let tiles = split([channels.start, z, y, x], out.view_mut(), step);
    for_each(tiles, threads, read)?;
    Ok(out)
}

/// Tiles that are planes or parts of planes.
pub(super) const PLANES: [usize; 4] = [1, 1, usize::MAX, usize::MAX];
