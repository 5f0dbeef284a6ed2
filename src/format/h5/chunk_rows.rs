//! Rows of voxels on their way to chunks.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;

use super::checksum::Checksum;
use super::pool::{PendingChunk, Pool};
use crate::volume::NewVolume;

/// Gathers encoded rows of a volume until their chunks are full.
///
/// What waits is a row of chunks along x, so that boxes of voxels may come in any
/// order; those that meet the lines of the chunks leave nothing behind.
pub(super) struct ChunkRows {
    dataset: Arc<hdf5::Dataset>,
    name: Arc<str>,
    /// Of the file.
    checksum: Checksum,
    has_channels: bool,
    /// (C, D, H, W)
    shape: [usize; 4],
    /// Depth, height and width of a chunk, which has one channel.
    chunk: [usize; 3],
    /// Bytes of a voxel.
    element: usize,
    level: u8,
    /// By channel and number of the chunk along z and y.
    waiting: HashMap<[usize; 3], Waiting>,
}

/// Rows of voxels (z, y) of a row of chunks, and how many are missing.
struct Waiting {
    bytes: Vec<u8>,
    missing: usize,
}

impl ChunkRows {
    pub fn new(
        dataset: hdf5::Dataset,
        checksum: Checksum,
        volume: &NewVolume<'_>,
        chunk: [usize; 3],
        element: usize,
        level: u8,
    ) -> Self {
        ChunkRows {
            dataset: Arc::new(dataset),
            name: volume.name.into(),
            checksum,
            has_channels: volume.has_channels,
            shape: volume.shape,
            chunk,
            element,
            level,
            waiting: HashMap::new(),
        }
    }

    /// Adds `rows` rows of a plane, the first at (channel, z, y). `encode` writes
    /// the bytes of some of them, counted from the first. Chunks that become full
    /// go to the pool.
    pub fn add(
        &mut self,
        [channel, z, first]: [usize; 3],
        rows: usize,
        pool: &Pool,
        encode: impl Fn(Range<usize>, &mut [u8]),
    ) -> Result<()> {
        let [_, d, h, w] = self.shape;
        let [depth, height, _] = self.chunk;
        let row = w * self.element;
        let mut y = first;
        while y < first + rows {
            let key = [channel, z / depth, y / height];
            let (z_chunk, y_chunk) = (key[1] * depth, key[2] * height);
            let end = (y_chunk + height).min(first + rows);
            let waiting = self.waiting.entry(key).or_insert_with(|| Waiting {
                // Chunks at the end of an axis are as large as the others.
                bytes: vec![0; depth * height * row],
                missing: depth.min(d - z_chunk) * height.min(h - y_chunk),
            });
            let from = ((z - z_chunk) * height + y - y_chunk) * row;
            encode(y - first..end - first, &mut waiting.bytes[from..from + (end - y) * row]);
            waiting.missing -= end - y;
            if waiting.missing == 0
                && let Some(full) = self.waiting.remove(&key)
            {
                self.send([channel, z_chunk, y_chunk], full.bytes, pool)?;
            }
            y = end;
        }
        Ok(())
    }

    /// Cuts a row of chunks, the first at (channel, z, y), into chunks.
    fn send(&self, [channel, z, y]: [usize; 3], rows: Vec<u8>, pool: &Pool) -> Result<()> {
        let (w, size) = (self.shape[3], self.element);
        let [depth, height, width] = self.chunk;
        let job = |x: usize, bytes: Vec<u8>| {
            let offset = [channel, z, y, x].map(|n| n as u64);
            PendingChunk {
                dataset: self.dataset.clone(),
                name: self.name.clone(),
                checksum: self.checksum.clone(),
                offset: offset[usize::from(!self.has_channels)..].to_vec(),
                bytes,
                element: size,
                level: self.level,
            }
        };
        if width == w {
            return pool.push(job(0, rows));
        }
        for x in (0..w).step_by(width) {
            let mut bytes = vec![0; depth * height * width * size];
            let length = width.min(w - x) * size;
            for (to, from) in bytes.chunks_exact_mut(width * size).zip(rows.chunks_exact(w * size))
            {
                to[..length].copy_from_slice(&from[x * size..x * size + length]);
            }
            pool.push(job(x, bytes))?;
        }
        Ok(())
    }
}
