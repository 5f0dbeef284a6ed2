//! One array of a store that is being written, file of chunks by file of chunks.

use std::fs;
use std::io::Write;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use crc32c::crc32c;
use serde_json::Value;
use zarrs::array::{Array, ArrayBytes, ArraySubset, ArrayToBytesCodecTraits, CodecOptions};
use zarrs::filesystem::FilesystemStore;

use super::version::{array_files, chunk_path};
use crate::format::encode::{Number, encode};
use crate::format::stored::{Stored, with_stored};
use crate::volume::{Compression, Edition, Encoding, StoredType};

/// What an array is, with its axes (C, D, H, W) or (D, H, W).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ArraySpec {
    pub shape: Vec<usize>,
    /// What is compressed at once.
    pub chunk: Vec<usize>,
    /// What stands in one file, if that is several chunks.
    pub shard: Option<Vec<usize>>,
    pub stored: StoredType,
    pub compression: Compression,
    pub edition: Edition,
}

/// Voxels of a chunk along z, y and x where the volume is long enough.
const CHUNK: usize = 64;

/// Chunks along an axis of a shard.
const CHUNKS_OF_SHARD: usize = 4;

/// From so many chunks on, several of them stand in one file.
const MANY_CHUNKS: usize = 4096;

impl ArraySpec {
    /// An array of a volume (C, D, H, W), with chunks of one channel and about 64³ voxels.
    pub fn of(
        shape: [usize; 4],
        has_channels: bool,
        stored: StoredType,
        compression: Compression,
        edition: Edition,
    ) -> ArraySpec {
        let [_, d, h, w] = shape;
        // As many voxels in a thin volume, too.
        let wide = match d {
            0..=8 => 4 * CHUNK,
            9..=32 => 2 * CHUNK,
            _ => CHUNK,
        };
        let mut chunk = [1, CHUNK.min(d), wide.min(h), wide.min(w)];
        let chunks: usize = shape.iter().zip(chunk).map(|(n, chunk)| n.div_ceil(chunk)).product();
        let from = usize::from(!has_channels);
        let many = chunks > MANY_CHUNKS;
        if many && edition == Edition::Previous {
            // It has no shards: there are fewer files if chunks are larger.
            chunk = [1, (2 * CHUNK).min(d), (2 * wide).min(h), (2 * wide).min(w)];
        }
        let shard = (many && edition == Edition::Newest).then(|| {
            let shard = [1, 2, 3]
                .map(|axis| chunk[axis] * CHUNKS_OF_SHARD.min(shape[axis].div_ceil(chunk[axis])));
            [1, shard[0], shard[1], shard[2]][from..].to_vec()
        });
        ArraySpec {
            shape: shape[from..].to_vec(),
            chunk: chunk[from..].to_vec(),
            shard,
            stored,
            compression,
            edition,
        }
    }

    /// Shape of what stands in one file.
    pub fn file(&self) -> &[usize] {
        self.shard.as_deref().unwrap_or(&self.chunk)
    }

    /// Bytes of what stands in one file, before it is compressed.
    pub fn file_bytes(&self) -> usize {
        self.file().iter().product::<usize>() * self.stored.size()
    }

    /// Files along each axis.
    pub fn files(&self) -> Vec<usize> {
        self.shape.iter().zip(self.file()).map(|(n, file)| n.div_ceil(*file)).collect()
    }

    pub fn file_count(&self) -> usize {
        self.files().iter().product()
    }

    /// Along each axis, the number of the `number`-th file, the last axis fastest.
    pub fn file_number(&self, mut number: usize) -> Vec<usize> {
        let mut place = self.files();
        for length in place.iter_mut().rev() {
            let all = *length;
            *length = number % all;
            number /= all;
        }
        place
    }

    /// First voxel and size of the part of a file that lies within the array.
    pub fn place(&self, file: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let origin: Vec<usize> = file.iter().zip(self.file()).map(|(n, size)| n * size).collect();
        let size = origin
            .iter()
            .zip(self.file().iter().zip(&self.shape))
            .map(|(first, (size, all))| (*size).min(all - first))
            .collect();
        (origin, size)
    }
}

/// The checksum of a file of a store: it depends on content and path. Sums of them are
/// checksums of stores, in whatever order files are written.
pub(super) fn file_sum(path: &str, content: &[u8]) -> u64 {
    let number = u64::from(crc32c(path.as_bytes())) << 32 | u64::from(crc32c(content));
    // The finalizer of SplitMix64.
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Writes a file of a store so that it is there whole or not at all.
pub(super) fn write_file(root: &Path, path: &str, content: &[u8]) -> Result<()> {
    let whole = root.join(path);
    let folder = whole.parent().context("a file of a store is in a folder")?;
    fs::create_dir_all(folder)?;
    // Unfinished files are at the top, where they are found again.
    let mut file = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .make_in(root, |path| fs::File::options().write(true).create_new(true).open(path))?;
    file.write_all(content)?;
    file.into_temp_path().persist(&whole).map_err(|error| error.error)?;
    Ok(())
}

/// What the names of files begin with that a process did not finish.
pub(super) const UNFINISHED: &str = ".unfinished-";

/// An array that is being written.
#[derive(Debug)]
pub(super) struct Level {
    pub spec: ArraySpec,
    /// Directory of the store.
    root: PathBuf,
    /// Path of the array within it.
    path: String,
    array: Array<FilesystemStore>,
}

impl Level {
    /// Begins an array, or goes on with one that was begun with the same metadata.
    /// Returns the checksum of its metadata, too.
    pub fn create(root: &Path, path: &str, spec: ArraySpec) -> Result<(Level, u64)> {
        let mut sum = 0u64;
        for (name, json) in array_files(&spec) {
            let (name, content) = (format!("{path}/{name}"), pretty(&json)?);
            write_file(root, &name, &content)?;
            sum = sum.wrapping_add(file_sum(&name, &content));
        }
        let store = FilesystemStore::new(root.join(path))?;
        let array = Array::open(Arc::new(store), "/").map_err(|error| anyhow!("{error}"))?;
        Ok((Level { spec, root: root.to_path_buf(), path: path.to_owned(), array }, sum))
    }

    /// Encodes and writes a file of chunks. `bytes` are those of its part within the array,
    /// little-endian. Returns the checksum of the file, or 0 if it is not there because
    /// all of it is zero.
    pub fn store(&self, file: &[usize], bytes: Vec<u8>, threads: usize) -> Result<u64> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(0);
        }
        let (_, size) = self.spec.place(file);
        let mut bytes = padded(bytes, &size, self.spec.file(), self.spec.stored.size());
        if cfg!(target_endian = "big") {
            bytes.chunks_exact_mut(self.spec.stored.size()).for_each(<[u8]>::reverse);
        }
        let shape: Option<Vec<NonZeroU64>> =
            self.spec.file().iter().map(|n| NonZeroU64::new(*n as u64)).collect();
        let options = CodecOptions::default().with_concurrent_target(threads);
        let encoded = self.array.codecs().encode(
            ArrayBytes::new_flen(bytes),
            &shape.context("a chunk without voxels")?,
            self.array.data_type(),
            self.array.fill_value(),
            &options,
        )?;
        let path = chunk_path(self.spec.edition, &self.path, file);
        write_file(&self.root, &path, &encoded)?;
        Ok(file_sum(&path, &encoded))
    }

    /// Makes a file of chunks of this level from the next larger one, which is `factor`
    /// times as long. Voxels are means, of labels the first of those that become one.
    pub fn store_smaller(
        &self,
        larger: &Level,
        factor: &[usize],
        file: &[usize],
        labels: bool,
        threads: usize,
    ) -> Result<u64> {
        let (origin, size) = self.spec.place(file);
        let first: Vec<usize> = origin.iter().zip(factor).map(|(n, f)| n * f).collect();
        let length: Vec<usize> = (0..size.len())
            .map(|axis| (size[axis] * factor[axis]).min(larger.spec.shape[axis] - first[axis]))
            .collect();
        let bytes = larger.read(&first, &length, threads)?;
        let smaller = with_stored!(self.spec.stored, S => {
            shrink::<S>(&bytes, &length, factor, &size, labels)?
        });
        self.store(file, smaller, threads)
    }

    /// Little-endian numbers of a box.
    fn read(&self, origin: &[usize], size: &[usize], threads: usize) -> Result<Vec<u8>> {
        let wide = |numbers: &[usize]| numbers.iter().map(|n| *n as u64).collect::<Vec<_>>();
        let subset = ArraySubset::new_with_start_shape(wide(origin), wide(size))?;
        let options = CodecOptions::default().with_concurrent_target(threads);
        let bytes =
            self.array.retrieve_array_subset_opt::<ArrayBytes<'static>>(&subset, &options)?;
        let mut bytes = bytes.into_fixed()?.into_owned();
        if cfg!(target_endian = "big") {
            bytes.chunks_exact_mut(self.spec.stored.size()).for_each(<[u8]>::reverse);
        }
        Ok(bytes)
    }
}

/// JSON as it is written into stores.
pub(super) fn pretty(json: &Value) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec_pretty(json)?)
}

/// Puts an array into the corner of a larger one of zeros.
fn padded(bytes: Vec<u8>, size: &[usize], whole: &[usize], element: usize) -> Vec<u8> {
    if size == whole {
        return bytes;
    }
    let mut out = vec![0; whole.iter().product::<usize>() * element];
    let last = size.len() - 1;
    let row = size[last] * element;
    for (number, line) in bytes.chunks_exact(row).enumerate() {
        let (mut rest, mut at, mut step) = (number, 0, whole[last]);
        for axis in (0..last).rev() {
            at += rest % size[axis] * step;
            rest /= size[axis];
            step *= whole[axis];
        }
        out[at * element..at * element + row].copy_from_slice(line);
    }
    out
}

/// Takes blocks of `factor` voxels of an array of `length` together.
fn shrink<S: Stored>(
    bytes: &[u8],
    length: &[usize],
    factor: &[usize],
    size: &[usize],
    labels: bool,
) -> Result<Vec<u8>>
where
    S::Memory: Number,
{
    let mut values = vec![S::Memory::default(); length.iter().product()];
    S::decode(bytes, &mut values)?;
    ensure!(size.iter().all(|n| *n > 0), "an array without voxels");
    let four = |numbers: &[usize], fill: usize| -> [usize; 4] {
        let mut four = [fill; 4];
        four[4 - numbers.len()..].copy_from_slice(numbers);
        four
    };
    let (length, factor, size) = (four(length, 1), four(factor, 1), four(size, 1));
    let index = |[c, z, y, x]: [usize; 4]| ((c * length[1] + z) * length[2] + y) * length[3] + x;
    let stored = S::STORED;
    let mut out = vec![0; size.iter().product::<usize>() * stored.size()];
    let mut place = 0;
    let mut put = |rows: &[f64], exact: Option<&[S::Memory]>| {
        let bytes = &mut out[place..place + size[3] * stored.size()];
        place += bytes.len();
        let encoding = Encoding::Number(stored);
        match exact {
            Some(values) => {
                encode(encoding, ndarray::ArrayView2::from_shape((1, size[3]), values)?, bytes);
            }
            None => encode(encoding, ndarray::ArrayView2::from_shape((1, size[3]), rows)?, bytes),
        }
        Ok::<_, anyhow::Error>(())
    };
    let range = |axis: usize, at: usize| {
        let first = at * factor[axis];
        first..(first + factor[axis]).min(length[axis])
    };
    let (mut sums, mut firsts) = (vec![0.0; size[3]], Vec::with_capacity(size[3]));
    for c in 0..size[0] {
        for z in 0..size[1] {
            for y in 0..size[2] {
                if labels {
                    let first = [c * factor[0], z * factor[1], y * factor[2]];
                    let value =
                        |x: usize| values[index([first[0], first[1], first[2], x * factor[3]])];
                    firsts.clear();
                    firsts.extend((0..size[3]).map(value));
                    put(&[], Some(&firsts))?;
                    continue;
                }
                sums.fill(0.0);
                let mut rows = 0.0;
                for dz in range(1, z) {
                    for dy in range(2, y) {
                        rows += 1.0;
                        let start = index([c, dz, dy, 0]);
                        let row = &values[start..start + length[3]];
                        for (sum, part) in sums.iter_mut().zip(row.chunks(factor[3])) {
                            let part_sum: f64 = part.iter().map(|value| value.to_f64()).sum();
                            *sum += part_sum / part.len() as f64;
                        }
                    }
                }
                sums.iter_mut().for_each(|sum| *sum /= rows);
                put(&sums, None)?;
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_cover_the_array() {
        let none = Compression::None;
        let spec = ArraySpec::of([2, 70, 100, 65], true, StoredType::U8, none, Edition::Newest);
        assert_eq!((spec.chunk.as_slice(), spec.file_count()), (&[1, 64, 64, 64][..], 16));
        assert_eq!(spec.file_number(5), [0, 1, 0, 1]);
        assert_eq!(spec.place(&[1, 1, 1, 1]), (vec![1, 64, 64, 64], vec![1, 6, 36, 1]));
        let large =
            ArraySpec::of([1, 2000, 2000, 2000], false, StoredType::U8, none, Edition::Newest);
        assert_eq!(large.file(), [256; 3]);
        let size = [1, 2000, 2000, 2000];
        let earlier = ArraySpec::of(size, false, StoredType::U8, none, Edition::Previous);
        assert_eq!(earlier.file(), [128; 3]);
        assert_eq!(earlier.shard, None);
        let thin = ArraySpec::of([1, 5, 2000, 100], false, StoredType::U8, none, Edition::Newest);
        assert_eq!(thin.chunk, [5, 256, 100]);
    }

    #[test]
    fn halves_are_means_or_the_first_label() {
        let bytes = [1, 3, 9, 5, 7, 9];
        let shrunk = |labels| shrink::<u8>(&bytes, &[2, 3], &[2, 2], &[1, 2], labels).unwrap();
        assert_eq!(shrunk(false), [4, 9]);
        assert_eq!(shrunk(true), [1, 9]);
        assert_eq!(padded(vec![1, 2, 3, 4], &[2, 2], &[3, 3], 1), [1, 2, 0, 3, 4, 0, 0, 0, 0]);
    }
}
