//! One array of a store, read whole or window by window.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use anyhow::{Context, Result, anyhow, ensure};
use ndarray::{Array4, ArrayViewMut4};
use zarrs::array::{
    Array, ArrayBytes, ArrayPartialDecoderTraits, ArrayShardedExt, ArrayShardedReadableExt,
    ArrayShardedReadableExtCache, ArraySubset, CodecOptions,
};
use zarrs::filesystem::FilesystemStore;
use zarrs::storage::byte_range::ByteRange;

use super::cache::Cache;
use super::metadata::ArrayMetadata;
use crate::files::InputFile;
use crate::format::axes::{AxisMap, ReadOptions};
use crate::format::by_tiles::read_by_tiles;
use crate::format::contiguous::{Contiguous, ReadAt};
use crate::format::stored::{Stored, with_stored};
use crate::runtime::memory;
use crate::volume::{Calibration, StoredType, Volume, VolumeReader, Window};

/// Decoded chunks of all volumes, by the number of the volume and that of the chunk:
/// those that neighbouring windows share.
type Chunks = Cache<(u64, Vec<usize>), Vec<u8>>;

/// Bytes of decoded chunks that are kept: an eighth of the memory that is free when the
/// first array is opened, within these bounds. The upper one has room for the eight
/// chunks around a corner if they are of 256³ voxels of 16 bits.
const CACHE: [usize; 2] = [64 << 20, 320 << 20];

static CHUNKS: LazyLock<Arc<Chunks>> = LazyLock::new(|| {
    let free = memory::available().map_or(CACHE[0], |free| (free / 8) as usize);
    Arc::new(Cache::new(free.clamp(CACHE[0], CACHE[1])))
});

/// Indexes of shards that are kept of all volumes, in bytes.
const SHARD_INDEXES: usize = 32 << 20;

type Shards = Cache<(u64, Vec<u64>), dyn ArrayPartialDecoderTraits>;

static SHARDS: LazyLock<Shards> = LazyLock::new(|| Cache::new(SHARD_INDEXES));

/// A number of its own for each array that is opened.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// An array of a store, opened and not read yet.
pub(super) struct ZarrArray {
    /// Absolute path of its directory.
    path: PathBuf,
    /// Name within the node that was opened.
    name: Option<String>,
    /// The file that describes it, which must not change.
    description: InputFile,
    array: Array<FilesystemStore>,
    metadata: ArrayMetadata,
    axes: AxisMap,
    /// What is decoded at once, along the axes of the array: chunks of a shard, or
    /// chunks.
    unit: Vec<usize>,
    sharded: bool,
    calibration: Calibration,
    /// By which its chunks are known in the caches.
    number: u64,
    chunks: Arc<Chunks>,
    missing: MissingChunks,
}

impl Drop for ZarrArray {
    fn drop(&mut self) {
        self.chunks.forget(|(array, _)| *array == self.number);
        SHARDS.forget(|(array, _)| *array == self.number);
    }
}

/// Counts chunks that were read and are not there. They hold the fill value, which may be
/// meant or not: `-v` tells how many there were.
struct MissingChunks {
    path: PathBuf,
    numbers: Mutex<HashSet<Vec<u64>>>,
    /// Indexes of shards, which tell what is in them.
    shards: ArrayShardedReadableExtCache,
}

/// Indexes of shards that are kept to count missing chunks of an array.
const COUNTED_SHARDS: usize = 256;

impl Drop for MissingChunks {
    fn drop(&mut self) {
        let count = self.numbers.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).len();
        if count > 0 {
            let path = self.path.display();
            log::debug!("{path}: {count} chunk(s) are not there and hold the fill value");
        }
    }
}

impl std::fmt::Debug for ZarrArray {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ZarrArray").field("path", &self.path).field("axes", &self.axes).finish()
    }
}

impl ZarrArray {
    /// Opens an array whose axes are `names`; `named` if it is the store that says so.
    ///
    /// # Errors
    /// A codec that is not built in, axes that are no volume, chunks larger than memory.
    pub fn open(
        path: &Path,
        metadata: &ArrayMetadata,
        names: &str,
        named: bool,
        options: &ReadOptions,
        calibration: Calibration,
    ) -> Result<ZarrArray> {
        calibration.check()?;
        let file = if path.join("zarr.json").is_file() { "zarr.json" } else { ".zarray" };
        let description = InputFile::open(&path.join(file), "a description of an array")?;
        let store = FilesystemStore::new(path)?;
        let array = Array::open(Arc::new(store), "/").map_err(|error| {
            anyhow!("{error}: the array cannot be read; write it with the codecs blosc, zstd, gzip or none")
        })?;
        // Of axes without names, a channel axis of length 1 is meant.
        let own = options.axes.clone().or_else(|| (!named).then(|| names.to_owned()));
        let options = ReadOptions { axes: own, ..options.clone() };
        let axes = AxisMap::new(names, &metadata.shape, &options)?;
        let sharded = array.is_sharded();
        let unit = match array.effective_subchunk_shape() {
            Some(inner) => inner.iter().map(|n| n.get() as usize).collect(),
            None => metadata.chunk.clone(),
        };
        ensure!(
            unit.len() == metadata.chunk.len()
                && unit.iter().zip(&metadata.chunk).all(|(inner, outer)| outer % inner == 0),
            "chunks {unit:?} do not fill shards {:?}",
            metadata.chunk
        );
        memory::ensure_room(&unit, metadata.stored.size()).with_context(|| {
            format!("one chunk of it, {unit:?}; write it again with smaller chunks")
        })?;
        let missing = MissingChunks {
            path: path.to_path_buf(),
            numbers: Mutex::default(),
            shards: ArrayShardedReadableExtCache::new(&array),
        };
        Ok(ZarrArray {
            path: path.to_path_buf(),
            name: None,
            description,
            array,
            metadata: metadata.clone(),
            axes,
            unit,
            sharded,
            calibration,
            number: OPENED.fetch_add(1, Ordering::Relaxed),
            chunks: CHUNKS.clone(),
            missing,
        })
    }

    /// The same under its name within the node that was opened.
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// The decoded bytes of the chunk with that number along each axis of the array.
    fn chunk(&self, number: &[usize], keep: bool) -> Result<Arc<Vec<u8>>> {
        let key = (self.number, number.to_vec());
        if let Some(found) = self.chunks.get(&key) {
            return Ok(found);
        }
        let options = CodecOptions::default().with_concurrent_target(1);
        if log::log_enabled!(log::Level::Debug) {
            self.note_missing(number);
        }
        let bytes = if self.sharded {
            let in_shard = |axis: usize| self.metadata.chunk[axis] / self.unit[axis];
            let shard: Vec<u64> =
                number.iter().enumerate().map(|(axis, n)| (n / in_shard(axis)) as u64).collect();
            let start: Vec<u64> = number
                .iter()
                .enumerate()
                .map(|(axis, n)| (n % in_shard(axis) * self.unit[axis]) as u64)
                .collect();
            let shape = self.unit.iter().map(|n| *n as u64).collect();
            let subset = ArraySubset::new_with_start_shape(start, shape)?;
            let shard_key = (self.number, shard);
            let decoder = match SHARDS.get(&shard_key) {
                Some(decoder) => decoder,
                None => {
                    let decoder = self.array.partial_decoder_opt(&shard_key.1, &options)?;
                    let bytes = 1024 + decoder.size_held();
                    SHARDS.insert(shard_key, decoder.clone(), bytes);
                    decoder
                }
            };
            decoder.partial_decode(&subset, &options)?.into_owned()
        } else {
            let number: Vec<u64> = number.iter().map(|n| *n as u64).collect();
            self.array.retrieve_chunk_opt::<ArrayBytes<'static>>(&number, &options)?
        };
        let bytes = Arc::new(bytes.into_fixed()?.into_owned());
        let wanted = self.unit.iter().product::<usize>() * self.metadata.stored.size();
        ensure!(bytes.len() == wanted, "it holds {} bytes, not {wanted}", bytes.len());
        if keep {
            self.chunks.insert(key, bytes.clone(), wanted);
        }
        Ok(bytes)
    }

    /// Counts a chunk if it is not there.
    fn note_missing(&self, number: &[usize]) {
        let MissingChunks { numbers, shards, .. } = &self.missing;
        let of_file = |(axis, n): (usize, &usize)| n * self.unit[axis] / self.metadata.chunk[axis];
        let file: Vec<u64> = number.iter().enumerate().map(|place| of_file(place) as u64).collect();
        let number: Vec<u64> = number.iter().map(|n| *n as u64).collect();
        let path = self.array.storage().key_to_fspath(&self.array.chunk_key(&file));
        let there = path.exists() && {
            if shards.len() > COUNTED_SHARDS {
                shards.clear();
            }
            // The index of a shard has the largest number in the place of what is not there.
            // What cannot be read is an error of whoever reads it.
            let absent = |range| matches!(range, None | Some(ByteRange::FromStart(u64::MAX, _)));
            !self.sharded || !self.array.subchunk_byte_range(shards, &number).is_ok_and(absent)
        };
        if !there {
            numbers.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(number);
        }
    }

    /// Lengths of what is decoded at once along c, z, y and x.
    fn unit_of_volume(&self) -> [usize; 4] {
        self.axes.places.map(|place| place.map_or(1, |axis| self.unit[axis]))
    }

    /// Fills a tile that lies within one chunk.
    fn read_tile<S: Stored>(
        &self,
        scratch: &mut Vec<u8>,
        origin: [usize; 4],
        tile: ArrayViewMut4<'_, S::Memory>,
    ) -> Result<()> {
        let mut place = self.axes.fixed.clone();
        for (axis, first) in self.axes.places.into_iter().zip(origin) {
            if let Some(axis) = axis {
                place[axis] = first;
            }
        }
        let number: Vec<usize> = place.iter().zip(&self.unit).map(|(at, unit)| at / unit).collect();
        // What is read to its end is not likely to be read again.
        let (c, d, h, w) = tile.dim();
        let unit = self.unit_of_volume();
        let shape = self.axes.shape;
        let whole = [c, d, h, w]
            .into_iter()
            .enumerate()
            .all(|(axis, n)| n == unit[axis].min(shape[axis] - origin[axis]));
        let bytes = self.chunk(&number, !whole).with_context(|| {
            format!(
                "the chunk {number:?} cannot be read; the store is damaged or was not copied \
                 completely"
            )
        })?;
        let (strides, _) = self.axes.strides(&self.unit);
        let within: usize = {
            let steps = AxisMap {
                fixed: place.iter().zip(&self.unit).map(|(at, unit)| at % unit).collect(),
                ..self.axes.clone()
            };
            steps.strides(&self.unit).1
        };
        let offset = (within * size_of::<S>()) as u64;
        let voxels = Contiguous { offset, strides, big_endian: cfg!(target_endian = "big") };
        voxels.read_tile::<S>(&bytes[..], scratch, [0; 4], tile)
    }

    fn read_stored<S: Stored>(
        &self,
        channels: Range<usize>,
        window: &Window,
        threads: usize,
    ) -> Result<Array4<S::Memory>> {
        let step = self.unit_of_volume();
        read_by_tiles::<S>(channels, window, step, threads, |scratch, origin, tile| {
            self.read_tile::<S>(scratch, origin, tile)
        })
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        let offset = usize::try_from(offset)?;
        let from = self.get(offset..).and_then(|rest| rest.get(..bytes.len()));
        bytes.copy_from_slice(from.context("a chunk ends too early")?);
        Ok(())
    }
}

impl VolumeReader for ZarrArray {
    fn path(&self) -> &Path {
        &self.path
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    fn stored(&self) -> StoredType {
        self.metadata.stored
    }

    fn extent(&self) -> [usize; 4] {
        self.axes.shape
    }

    fn has_channels(&self) -> bool {
        self.axes.has_channels
    }

    fn chunk_shape(&self) -> Option<[usize; 4]> {
        Some(self.unit_of_volume())
    }

    fn calibration(&self) -> Calibration {
        self.calibration.clone()
    }

    fn read_part(&self, channels: Range<usize>, window: &Window, threads: usize) -> Result<Volume> {
        self.check_part(&channels, window);
        self.description.unchanged()?;
        let [d, h, w] = window.size;
        memory::ensure_room(&[channels.len(), d, h, w], self.element().size())
            .with_context(|| self.describe())?;
        let values = with_stored!(self.metadata.stored, S => {
            let array = self.read_stored::<S>(channels, window, threads);
            S::values(array.with_context(|| self.describe())?)
        });
        Ok(Volume { values, has_channels: self.has_channels() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format;

    fn array(chunks: &Arc<Chunks>, name: &str) -> ZarrArray {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats").join(name);
        let node = super::super::metadata::Node::read(&path).unwrap();
        let (metadata, options) = (node.array.unwrap(), ReadOptions::default());
        let array =
            ZarrArray::open(&path, &metadata, "zyx", true, &options, Calibration::default());
        let mut array = array.unwrap();
        array.chunks = chunks.clone();
        array
    }

    /// Windows of several volumes, read by several threads, with room for a few chunks.
    #[test]
    fn the_cache_keeps_its_bound() {
        // A chunk has 2 · 4 · 8 voxels of two bytes, or 4 · 8 · 16.
        let limit = 3 * 1024;
        let chunks = Arc::new(Cache::new(limit));
        let arrays = [array(&chunks, "v05.zarr/s0"), array(&chunks, "v04.zarr/s0")];
        let expected = format::read(&arrays[0].path, "").unwrap();
        let most = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (arrays, expected, chunks, most) = (&arrays, &expected, &chunks, &most);
                scope.spawn(move || {
                    for step in 0..60usize {
                        let at = 7 * step + 3 * thread;
                        let window = Window::new([at % 4, at % 11, at % 9], [3, 7, 12]);
                        let found = arrays[step % 2].read_window(&window).unwrap();
                        assert_eq!(found, expected.window(&window));
                        most.fetch_max(chunks.bytes() as u64, Ordering::Relaxed);
                    }
                });
            }
        });
        let most = most.into_inner() as usize;
        assert!(most > limit / 2 && most <= limit, "{most} of {limit}");
        drop(arrays);
        assert_eq!(chunks.bytes(), 0);
    }
}
