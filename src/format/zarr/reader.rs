//! One array of a store, read whole or window by window.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow, ensure};
use ndarray::{Array4, ArrayViewMut4};
use zarrs::array::{
    Array, ArrayBytes, ArrayPartialDecoderTraits, ArrayShardedExt, ArraySubset, CodecOptions,
};
use zarrs::filesystem::FilesystemStore;

use super::cache::Cache;
use super::metadata::ArrayMetadata;
use crate::files::InputFile;
use crate::format::axes::{AxisMap, ReadOptions};
use crate::format::contiguous::{Contiguous, ReadAt};
use crate::format::stored::{Stored, with_stored};
use crate::runtime::memory;
use crate::volume::tiles::{for_each, split};
use crate::volume::{Calibration, StoredType, Volume, VolumeReader, Window};

/// Bytes of decoded chunks that are kept of a volume: those that neighbouring windows
/// share.
const CACHE: usize = 64 << 20;
/// Chunks that are kept whatever their size: those around a corner.
const LEAST_CHUNKS: usize = 8;
/// Indexes of shards that are kept, in bytes.
const SHARD_INDEXES: usize = 16 << 20;

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
    chunks: Cache<Vec<usize>, Vec<u8>>,
    shards: Cache<Vec<u64>, Arc<dyn ArrayPartialDecoderTraits>>,
    missing: MissingChunks,
}

/// Counts chunks, or shards, that were read and are not there. They hold the fill value,
/// which may be meant or not: `-v` tells how many there were.
struct MissingChunks {
    path: PathBuf,
    numbers: Mutex<HashSet<Vec<u64>>>,
}

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
        let bytes = unit.iter().product::<usize>() * metadata.stored.size();
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
            chunks: Cache::new(CACHE.max(LEAST_CHUNKS.saturating_mul(bytes))),
            shards: Cache::new(SHARD_INDEXES),
            missing: MissingChunks { path: path.to_path_buf(), numbers: Mutex::default() },
        })
    }

    /// The same under its name within the node that was opened.
    pub fn named(self, name: &str) -> Self {
        ZarrArray { name: Some(name.to_owned()), ..self }
    }

    /// The decoded bytes of the chunk with that number along each axis of the array.
    fn chunk(&self, number: &[usize], keep: bool) -> Result<Arc<Vec<u8>>> {
        let key = number.to_vec();
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
            let decoder = match self.shards.get(&shard) {
                Some(decoder) => decoder,
                None => {
                    let decoder = Arc::new(self.array.partial_decoder_opt(&shard, &options)?);
                    let bytes = 1024 + decoder.size_held();
                    self.shards.insert(shard, decoder.clone(), bytes);
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

    /// Counts the file of a chunk if it is not there.
    fn note_missing(&self, number: &[usize]) {
        let of_file = |(axis, n): (usize, &usize)| n * self.unit[axis] / self.metadata.chunk[axis];
        let file: Vec<u64> = number.iter().enumerate().map(|place| of_file(place) as u64).collect();
        let path = self.array.storage().key_to_fspath(&self.array.chunk_key(&file));
        if !path.exists() {
            let numbers = &self.missing.numbers;
            numbers.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(file);
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
            format!("the chunk {number:?} cannot be read; the store is damaged")
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
        let [d, h, w] = window.size;
        let mut out = Array4::from_elem((channels.len(), d, h, w), S::Memory::default());
        let [z, y, x] = window.origin;
        let tiles = split([channels.start, z, y, x], out.view_mut(), self.unit_of_volume());
        for_each(tiles, threads, |scratch: &mut Vec<u8>, origin, tile| {
            self.read_tile::<S>(scratch, origin, tile)
        })?;
        Ok(out)
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
