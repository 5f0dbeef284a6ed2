//! Voxels that are stored in one piece, row after row, without compression.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use ndarray::ArrayViewMut4;

use super::stored::Stored;

/// Bytes that can be read at any place by several threads.
pub(super) trait ReadAt: Sync {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<()>;
}

impl ReadAt for File {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        self.read_exact_at(bytes, offset).context("voxels cannot be read")
    }
}

/// Where the voxels of a volume are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contiguous {
    /// The first byte of the first voxel.
    pub offset: u64,
    /// (C, D, H, W)
    pub shape: [usize; 4],
    pub big_endian: bool,
}

impl Contiguous {
    /// Fills a tile that begins at `origin`, plane by plane.
    pub fn read_tile<S: Stored>(
        &self,
        bytes: &impl ReadAt,
        scratch: &mut Vec<u8>,
        origin: [usize; 4],
        mut tile: ArrayViewMut4<'_, S::Memory>,
    ) -> Result<()> {
        let (_, _, h, w) = tile.dim();
        let (size, shape) = (size_of::<S>(), self.shape);
        for (c, mut volume) in tile.outer_iter_mut().enumerate() {
            for (d, mut plane) in volume.outer_iter_mut().enumerate() {
                let row = ((origin[0] + c) * shape[1] + origin[1] + d) * shape[2] + origin[2];
                // From the first voxel of the first row to the last of the last.
                let first = (row * shape[3] + origin[3]) as u64;
                scratch.resize(((h - 1) * shape[3] + w) * size, 0);
                bytes.read_at(scratch, self.offset + first * size as u64)?;
                if self.big_endian {
                    scratch.chunks_exact_mut(size).for_each(<[u8]>::reverse);
                }
                for (y, mut row) in plane.outer_iter_mut().enumerate() {
                    let first = y * shape[3] * size;
                    let row = row.as_slice_mut().context("a row in one piece")?;
                    S::decode(&scratch[first..first + w * size], row)?;
                }
            }
        }
        Ok(())
    }
}
