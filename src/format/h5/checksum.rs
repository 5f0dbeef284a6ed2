//! A checksum over the voxels of a file as they are stored.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use crc32c::crc32c;
use hdf5::dataset::Layout;

/// Bytes of a data set in one piece that are read at a time, about.
const PART: usize = 1 << 20;

/// Gives the bytes of a file from a place on, that many.
pub(super) type ReadBytes<'a> = &'a dyn Fn(u64, u64) -> Result<Vec<u8>>;

/// Bytes of a file on the disk.
pub(super) fn bytes_of(file: &File, address: u64, size: u64) -> Result<Vec<u8>> {
    let end = address.checked_add(size).context("it lies beyond the end of the file")?;
    ensure!(end <= file.metadata()?.len(), "it lies beyond the end of the file");
    let mut bytes = vec![0; usize::try_from(size)?];
    file.read_exact_at(&mut bytes, address)?;
    Ok(bytes)
}

/// The sum of a number for every chunk, or for every row along x of data sets that are
/// not chunked, so that threads may add them in any order. Each number depends on the
/// stored bytes (by their CRC-32C), on their place and on the name of the data set.
#[derive(Clone, Debug, Default)]
pub(super) struct Checksum(Arc<AtomicU64>);

impl Checksum {
    /// Adds a chunk whose first voxel is at `place`, or row number `place`.
    pub fn add(&self, name: &str, place: &[u64], filter_mask: u32, bytes: &[u8]) {
        let start = u64::from(crc32c(name.as_bytes())) << 32 | u64::from(filter_mask);
        let number =
            place.iter().chain([&u64::from(crc32c(bytes))]).fold(start, |number, &next| {
                // The finalizer of SplitMix64.
                let mut mixed = (number ^ next).wrapping_add(0x9e37_79b9_7f4a_7c15);
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                mixed ^ (mixed >> 31)
            });
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// Adds rows of `row` bytes each, the first of which is number `first`.
    pub fn add_rows(&self, name: &str, first: u64, row: usize, bytes: &[u8]) {
        for (number, bytes) in (first..).zip(bytes.chunks_exact(row)) {
            self.add(name, &[number], 0, bytes);
        }
    }

    /// As it is noted in the file.
    pub fn text(&self) -> String {
        format!("{:016x}", self.0.load(Ordering::Relaxed))
    }

    /// Computes the checksum of an open file over data sets at its top; `read` gives the
    /// bytes of the same file.
    ///
    /// # Errors
    /// A data set that is missing, cannot be read, or is stored in another way than
    /// [`super::H5Writer`] stores them.
    pub fn of(hdf5: &hdf5::File, read: ReadBytes<'_>, names: &[String]) -> Result<Checksum> {
        let sum = Checksum::default();
        for name in names {
            sum.add_dataset(&hdf5.dataset(name)?, name, read)
                .with_context(|| format!("the data set `{name}`"))?;
        }
        Ok(sum)
    }

    fn add_dataset(&self, dataset: &hdf5::Dataset, name: &str, read: ReadBytes<'_>) -> Result<()> {
        match dataset.layout() {
            Layout::Chunked => {
                let mut chunks = Vec::new();
                dataset.chunks_visit(|info| {
                    chunks.push((info.offset.to_vec(), info.filter_mask, info.addr, info.size));
                    0
                })?;
                for (place, mask, address, size) in chunks {
                    self.add(name, &place, mask, &read(address, size)?);
                }
            }
            Layout::Contiguous => {
                let offset = dataset.offset().context("it has no voxels")?;
                let (rows, row) = match dataset.shape().split_last() {
                    Some((width, outer)) if *width > 0 => {
                        (outer.iter().product(), width * dataset.dtype()?.size())
                    }
                    _ => bail!("it is empty"),
                };
                let step = (PART / row).max(1);
                for first in (0..rows).step_by(step) {
                    let count = step.min(rows - first);
                    let bytes = read(offset + (first * row) as u64, (count * row) as u64)?;
                    self.add_rows(name, first as u64, row, &bytes);
                }
            }
            other => bail!("it is stored as {other:?}"),
        }
        Ok(())
    }
}
