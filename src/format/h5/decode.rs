//! Reading chunks and rows straight from the file, without the HDF5 library.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use libdeflater::Decompressor;
use ndarray::ArrayViewMut4;

use super::storage::{Chunk, Chunks, StoredFilter, VoxelStorage};
use crate::format::contiguous::Contiguous;
use crate::format::stored::Stored;
use crate::volume::tiles::{for_each, split};

/// Fills `out`, which begins at `origin` of a data set of `shape`, with
/// `threads` threads.
pub(super) fn read<S: Stored>(
    file: &File,
    storage: &VoxelStorage,
    shape: [usize; 4],
    origin: [usize; 4],
    out: ArrayViewMut4<'_, S::Memory>,
    threads: usize,
) -> Result<()> {
    let step = match storage {
        VoxelStorage::Chunked(chunks) => chunks.shape,
        // Planes are a good handful for one thread at a time.
        _ => [1, 1, usize::MAX, usize::MAX],
    };
    for_each(split(origin, out, step), threads, |scratch: &mut Scratch, origin, tile| match storage
    {
        VoxelStorage::Chunked(chunks) => {
            let bytes = scratch.chunk(file, chunks, chunks.at(origin), size_of::<S>())?;
            let within = std::array::from_fn(|axis| origin[axis] % chunks.shape[axis]);
            copy::<S>(bytes, chunks.shape, within, tile)
        }
        VoxelStorage::Contiguous { offset } => {
            let voxels = Contiguous::in_order(*offset, shape, false);
            voxels.read_tile::<S>(file, &mut scratch.stored, origin, tile)
        }
        VoxelStorage::Library => unreachable!("the library reads these itself"),
    })
}

/// Decodes the part of a chunk that begins at `within` into `tile`.
fn copy<S: Stored>(
    bytes: &[u8],
    shape: [usize; 4],
    within: [usize; 4],
    mut tile: ArrayViewMut4<'_, S::Memory>,
) -> Result<()> {
    let (_, d, h, w) = tile.dim();
    for (row_number, mut row) in tile.rows_mut().into_iter().enumerate() {
        let c = within[0] + row_number / (d * h);
        let z = within[1] + row_number / h % d;
        let y = within[2] + row_number % h;
        let first = ((c * shape[1] + z) * shape[2] + y) * shape[3] + within[3];
        let bytes = &bytes[first * size_of::<S>()..(first + w) * size_of::<S>()];
        let row = row.as_slice_mut().context("a row in one piece")?;
        S::decode(bytes, row)?;
    }
    Ok(())
}

/// Buffers that one thread uses again for every chunk.
#[derive(Default)]
struct Scratch {
    stored: Vec<u8>,
    plain: Vec<u8>,
    decompressor: Decompressor,
}

/// What deflate reaches at best; more is a lie about the size of a chunk.
const BEST_RATIO: u64 = 1032;

impl Scratch {
    /// The bytes of a chunk with all filters undone.
    fn chunk(
        &mut self,
        file: &File,
        chunks: &Chunks,
        chunk: Chunk,
        element: usize,
    ) -> Result<&[u8]> {
        let wanted = chunks.voxels() * element;
        let deflated = chunks.filters.contains(&StoredFilter::Deflate);
        let possible =
            if deflated { (chunk.size + 1).saturating_mul(BEST_RATIO) } else { chunk.size };
        ensure!(
            wanted as u64 <= possible,
            "a chunk of {wanted} bytes is stored in {} bytes; the file is damaged",
            chunk.size
        );
        self.stored.resize(chunk.size as usize, 0);
        file.read_exact_at(&mut self.stored, chunk.address).context("a chunk cannot be read")?;
        for (i, step) in chunks.filters.iter().enumerate().rev() {
            if chunk.filter_mask & (1 << i) != 0 {
                continue;
            }
            self.plain.resize(wanted, 0);
            match step {
                StoredFilter::Deflate => {
                    let found = self
                        .decompressor
                        .zlib_decompress(&self.stored, &mut self.plain)
                        .map_err(|_| {
                            anyhow::anyhow!("a chunk cannot be decompressed; the file is damaged")
                        })?;
                    ensure!(
                        found == wanted,
                        "a chunk holds {found} bytes, not {wanted}; the file is damaged"
                    );
                }
                StoredFilter::Shuffle => {
                    ensure!(
                        self.stored.len() == wanted,
                        "a chunk holds {} bytes, not {wanted}; the file is damaged",
                        self.stored.len()
                    );
                    unshuffle(&self.stored, &mut self.plain, element);
                }
            }
            std::mem::swap(&mut self.stored, &mut self.plain);
        }
        ensure!(
            self.stored.len() == wanted,
            "a chunk holds {} bytes, not {wanted}; the file is damaged",
            self.stored.len()
        );
        Ok(&self.stored)
    }
}

/// Undoes HDF5's shuffle filter: first bytes of all numbers, then second bytes, …
fn unshuffle(shuffled: &[u8], plain: &mut [u8], size: usize) {
    fn by<const N: usize>(shuffled: &[u8], plain: &mut [u8]) {
        let count = plain.len() / N;
        let planes: [&[u8]; N] = std::array::from_fn(|i| &shuffled[i * count..(i + 1) * count]);
        let (numbers, _) = plain.as_chunks_mut::<N>();
        for (i, number) in numbers.iter_mut().enumerate() {
            *number = std::array::from_fn(|k| planes[k][i]);
        }
    }
    match size {
        2 => by::<2>(shuffled, plain),
        4 => by::<4>(shuffled, plain),
        8 => by::<8>(shuffled, plain),
        _ => plain.copy_from_slice(shuffled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unshuffling_gathers_the_bytes_of_a_number() {
        let mut plain = [0; 6];
        unshuffle(&[1, 2, 3, 11, 12, 13], &mut plain, 2);
        assert_eq!(plain, [1, 11, 2, 12, 3, 13]);
    }
}
