//! Voxels that are stored without compression, at even distances.

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
    /// Distances of neighbours along c, z, y and x, counted in voxels.
    pub strides: [usize; 4],
    pub big_endian: bool,
}

impl Contiguous {
    /// A volume (C, D, H, W) in C order.
    pub fn in_order(offset: u64, shape: [usize; 4], big_endian: bool) -> Self {
        let [_, d, h, w] = shape;
        Contiguous { offset, strides: [d * h * w, h * w, w, 1], big_endian }
    }

    /// Fills a tile that begins at `origin`, plane by plane.
    pub fn read_tile<S: Stored>(
        &self,
        bytes: &(impl ReadAt + ?Sized),
        scratch: &mut Vec<u8>,
        origin: [usize; 4],
        mut tile: ArrayViewMut4<'_, S::Memory>,
    ) -> Result<()> {
        let (_, _, h, w) = tile.dim();
        let size = size_of::<S>();
        let [c_step, z_step, y_step, x_step] = self.strides;
        let mut decoded = Vec::new();
        for (c, mut volume) in tile.outer_iter_mut().enumerate() {
            for (d, mut plane) in volume.outer_iter_mut().enumerate() {
                let place = [origin[0] + c, origin[1] + d, origin[2], origin[3]];
                let first: usize =
                    place.iter().zip([c_step, z_step, y_step, x_step]).map(|(n, s)| n * s).sum();
                // From the first voxel of the first row to the last of the last.
                let span = (h - 1) * y_step + (w - 1) * x_step + 1;
                scratch.resize(span * size, 0);
                bytes.read_at(scratch, self.offset + (first * size) as u64)?;
                if self.big_endian {
                    scratch.chunks_exact_mut(size).for_each(<[u8]>::reverse);
                }
                if x_step == 1 {
                    for (y, mut row) in plane.outer_iter_mut().enumerate() {
                        let first = y * y_step * size;
                        let row = row.as_slice_mut().context("a row in one piece")?;
                        S::decode(&scratch[first..first + w * size], row)?;
                    }
                } else {
                    decoded.resize(span, S::Memory::default());
                    S::decode(scratch, &mut decoded)?;
                    for ((y, x), voxel) in plane.indexed_iter_mut() {
                        *voxel = decoded[y * y_step + x * x_step];
                    }
                }
            }
        }
        Ok(())
    }
}
