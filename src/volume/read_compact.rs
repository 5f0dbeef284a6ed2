//! Finding compact forms while reading, a column of chunks at a time.
//!
//! The chunks of h5py cross channels. A tile here is as high, deep and wide as a
//! chunk and holds all channels, so that every chunk is decoded once and a
//! thread never holds more than one column of chunks.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail};
use ndarray::{Array4, ArrayViewMut4};

use super::tiles::{for_each, split};
use super::{Element, OneHot, Palette, Values, Volume, VolumeReader, Window};
use crate::runtime::memory;
use crate::with_values;

/// Bytes of a tile, about, where the file has no chunks.
const TILE: usize = 4 << 20;

/// Ends the search: the volume has no such form.
#[derive(Debug, thiserror::Error)]
#[error("the volume has no compact form")]
struct NoForm;

/// Reads a volume (C, D, H, W) as a [`OneHot`] label; `None` if some voxel has a
/// value other than 0 and 1 or more than one 1.
pub(super) fn read_one_hot(reader: &(impl VolumeReader + ?Sized)) -> Result<Option<OneHot>> {
    let (classes, element) = (reader.channels(), reader.element());
    if !reader.has_channels() || classes >= usize::from(OneHot::NONE) {
        return Ok(None);
    }
    let found = read_indices(reader, |tile, out| {
        out.fill(OneHot::NONE);
        with_values!(&tile.values, values => {
            let voxels = out.len();
            let values = values.as_slice().unwrap_or_default();
            for (class, values) in values.chunks_exact(voxels).enumerate() {
                if !set(values, class as u16, out) {
                    bail!(NoForm);
                }
            }
        });
        Ok(())
    })?;
    Ok(found.map(|indices| OneHot { indices, classes, element }))
}

/// Reads a volume (C, D, H, W) as a [`Palette`]; `None` if it has more columns
/// than [`Palette::LIMIT`].
pub(super) fn read_palette(reader: &(impl VolumeReader + ?Sized)) -> Result<Option<Palette>> {
    if !reader.has_channels() {
        return Ok(None);
    }
    let columns = Mutex::new(Columns::default());
    let found = read_indices(reader, |tile, out| {
        with_values!(&tile.values, values => {
            number_columns(values.as_slice().unwrap_or_default(), out, &columns)
        })
    })?;
    let Some(mut indices) = found else { return Ok(None) };
    let columns = columns.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()).bits;
    // Threads meet columns in any order; number them as they come first.
    let mut order = Vec::new();
    let mut numbers = vec![u16::MAX; columns.len()];
    for index in &mut indices {
        let number = &mut numbers[usize::from(*index)];
        if *number == u16::MAX {
            *number = order.len() as u16;
            order.push(usize::from(*index));
        }
        *index = *number;
    }
    let bits = order.iter().flat_map(|&column| columns[column].iter().copied());
    let table = table(reader.element(), (1, 1, order.len(), reader.channels()), bits)?;
    Ok(Some(Palette { indices, table }))
}

fn table(
    element: Element,
    shape: (usize, usize, usize, usize),
    bits: impl Iterator<Item = u64>,
) -> Result<Values> {
    macro_rules! table {
        ($type:ty) => {
            Array4::from_shape_vec(shape, bits.map(<$type as Bits>::from_bits).collect())?.into()
        };
    }
    Ok(match element {
        Element::U8 => table!(u8),
        Element::U16 => table!(u16),
        Element::I32 => table!(i32),
        Element::I64 => table!(i64),
        Element::F32 => table!(f32),
        Element::F64 => table!(f64),
    })
}

/// Has `find` turn each tile, all channels of some voxels, into an index for each
/// voxel. `None` if it finds that there is [`NoForm`].
fn read_indices(
    reader: &(impl VolumeReader + ?Sized),
    find: impl Fn(&Volume, &mut [u16]) -> Result<()> + Sync,
) -> Result<Option<Array4<u16>>> {
    let [d, h, w] = reader.size();
    memory::ensure_room(&[d, h, w], size_of::<u16>()).with_context(|| reader.describe())?;
    let mut indices = Array4::zeros((1, d, h, w));
    let step = match reader.chunk_shape() {
        Some([_, d, h, w]) => [1, d, h, w],
        None => {
            let row = w * reader.channels() * reader.element().size();
            [1, 1, (TILE / row).clamp(1, h), w]
        }
    };
    let threads = thread::available_parallelism().map_or(1, |n| n.get());
    let work = |out: &mut Vec<u16>, [_, z, y, x]: [usize; 4], mut tile: ArrayViewMut4<'_, u16>| {
        let (_, d, h, w) = tile.dim();
        let window = Window::new([z, y, x], [d, h, w]);
        out.resize(window.voxels(), 0);
        find(&reader.read_part(0..reader.channels(), &window, 1)?, out)?;
        tile.iter_mut().zip(out.iter()).for_each(|(index, &found)| *index = found);
        Ok(())
    };
    match for_each(split([0; 4], indices.view_mut(), step), threads, work) {
        Ok(()) => Ok(Some(indices)),
        Err(error) if error.is::<NoForm>() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Notes the voxels that are 1 in a class; false if some value is neither 0 nor
/// 1, or a voxel has a class already.
fn set<T: Bits>(values: &[T], class: u16, out: &mut [u16]) -> bool {
    let one = T::ONE.bits();
    values.iter().zip(out).all(|(value, index)| match value.bits() {
        0 => true,
        bits => {
            let fits = bits == one && *index == OneHot::NONE;
            *index = class;
            fits
        }
    })
}

/// The columns found so far, by their hash.
#[derive(Default)]
struct Columns {
    by_hash: HashMap<u64, Vec<u16>, BuildHasherDefault<PrecomputedHash>>,
    bits: Vec<Vec<u64>>,
}

impl Columns {
    /// The number of a column, which is new if it is not known yet.
    fn number(&mut self, hash: u64, column: &[u64]) -> Result<u16> {
        let numbers = self.by_hash.entry(hash).or_default();
        if let Some(&number) = numbers.iter().find(|&&n| self.bits[usize::from(n)] == column) {
            return Ok(number);
        }
        if self.bits.len() == Palette::LIMIT {
            bail!(NoForm);
        }
        let number = self.bits.len() as u16;
        numbers.push(number);
        self.bits.push(column.to_vec());
        Ok(number)
    }
}

/// Finds the number of every voxel's column; `values` is (C, voxels).
fn number_columns<T: Bits>(values: &[T], out: &mut [u16], columns: &Mutex<Columns>) -> Result<()> {
    let voxels = out.len();
    let mut hashes = vec![0u64; voxels];
    for channel in values.chunks_exact(voxels) {
        for (hash, value) in hashes.iter_mut().zip(channel) {
            // Multiply and fold, as FxHash does.
            *hash = (hash.rotate_left(23) ^ value.bits()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
    // The columns of this tile, each with the first voxel that has it.
    let mut local: HashMap<u64, u16, BuildHasherDefault<PrecomputedHash>> = HashMap::default();
    let mut first = Vec::new();
    let mut last = None;
    for (voxel, (&hash, index)) in hashes.iter().zip(&mut *out).enumerate() {
        *index = match last {
            Some((known, number)) if known == hash => number,
            _ => {
                let next = first.len();
                let number = *local.entry(hash).or_insert(next as u16);
                if usize::from(number) == next {
                    first.push((hash, voxel));
                    if first.len() > Palette::LIMIT {
                        bail!(NoForm);
                    }
                }
                number
            }
        };
        last = Some((hash, *index));
    }
    // Two columns might share a hash: compare every value with its column's.
    for channel in values.chunks_exact(voxels) {
        let table: Vec<u64> = first.iter().map(|&(_, voxel)| channel[voxel].bits()).collect();
        let same = |(value, &index): (&T, &u16)| value.bits() == table[usize::from(index)];
        if !channel.iter().zip(&*out).all(same) {
            bail!(NoForm);
        }
    }
    let mut numbers = Vec::with_capacity(first.len());
    let mut columns = columns.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for (hash, voxel) in first {
        let column: Vec<u64> =
            values.chunks_exact(voxels).map(|channel| channel[voxel].bits()).collect();
        numbers.push(columns.number(hash, &column)?);
    }
    out.iter_mut().for_each(|index| *index = numbers[usize::from(*index)]);
    Ok(())
}

/// Passes on a number that is a hash already.
#[derive(Default)]
struct PrecomputedHash(u64);

impl Hasher for PrecomputedHash {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.0 = self.0 << 8 | u64::from(byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A value as its bits, so that every NaN and both zeros are told apart.
trait Bits: Copy {
    const ONE: Self;
    fn bits(self) -> u64;
    fn from_bits(bits: u64) -> Self;
}

macro_rules! bits {
    ($($integer:ty),*; $($float:ty: $unsigned:ty),*) => {
        $(impl Bits for $integer {
            const ONE: Self = 1;
            fn bits(self) -> u64 {
                self as u64
            }
            fn from_bits(bits: u64) -> Self {
                bits as $integer
            }
        })*
        $(impl Bits for $float {
            const ONE: Self = 1.0;
            fn bits(self) -> u64 {
                self.to_bits().into()
            }
            fn from_bits(bits: u64) -> Self {
                <$float>::from_bits(bits as $unsigned)
            }
        })*
    };
}
bits!(u8, u16, i32, i64; f32: u32, f64: u64);
