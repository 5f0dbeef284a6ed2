//! `Relabel`: replaces values by their ranks.

use anyhow::Result;

use super::{ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape};
use crate::volume::{Element, Values, Volume};

pub(super) static ENTRY: TransformEntry = TransformEntry {
    name: "Relabel",
    class: TransformClass::Conversion,
    meaning: "Replaces each value by its rank among the values of the patch, from 0: 10, 10, 0, 6 \
              becomes 2, 2, 0, 1.",
    parameters: &[],
    build: |_| Ok(Box::new(Relabel)),
};

struct Relabel;

impl Transform for Relabel {
    fn apply(&self, volume: Volume, _: &TransformContext<'_>) -> Result<Volume> {
        let values: Values = match volume.values {
            Values::U8(mut array) => {
                let ranks = table(256, array.iter().map(|&x| usize::from(x)));
                array.mapv_inplace(|x| ranks[usize::from(x)] as u8);
                array.into()
            }
            Values::U16(mut array) => {
                let ranks = table(1 << 16, array.iter().map(|&x| usize::from(x)));
                array.mapv_inplace(|x| ranks[usize::from(x)] as u16);
                array.into()
            }
            Values::I32(array) => {
                let rank = ranks(array.iter().map(|&x| i64::from(x)));
                array.map(rank_of(&rank, |&x| i64::from(x))).into()
            }
            Values::I64(array) => {
                let rank = ranks(array.iter().copied());
                array.map(rank_of(&rank, |&x| x)).into()
            }
            Values::F32(array) => {
                let rank = ranks(array.iter().map(|&x| ordered(f64::from(x))));
                array.map(rank_of(&rank, |&x| ordered(f64::from(x)))).into()
            }
            Values::F64(array) => {
                let rank = ranks(array.iter().map(|&x| ordered(x)));
                array.map(rank_of(&rank, |&x| ordered(x))).into()
            }
        };
        Ok(Volume { values, has_channels: volume.has_channels })
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        let element = match input.element {
            Element::U8 => Element::U8,
            Element::U16 => Element::U16,
            _ => Element::I32,
        };
        Ok(input.with_element(element))
    }
}

/// The rank of each of `count` possible values.
fn table(count: usize, values: impl Iterator<Item = usize>) -> Vec<u32> {
    let mut seen = vec![0; count];
    values.for_each(|value| seen[value] = 1);
    let mut next = 0;
    for rank in &mut seen {
        let present = *rank;
        *rank = next;
        next += present;
    }
    seen
}

/// The distinct values, in ascending order.
fn ranks(values: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut found = Vec::new();
    let mut last = None;
    for value in values {
        // Labels occur in runs, so the list of the first value of each run is short.
        if last != Some(value) {
            found.push(value);
            last = Some(value);
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn rank_of<T>(ranks: &[i64], value: impl Fn(&T) -> i64) -> impl FnMut(&T) -> i32 {
    let mut last = None;
    move |voxel| {
        let value = value(voxel);
        match last {
            Some((known, rank)) if known == value => rank,
            _ => {
                let rank = ranks.partition_point(|&other| other < value) as i32;
                last = Some((value, rank));
                rank
            }
        }
    }
}

/// An integer with the same order as the number; NaN is one value and the largest, as for numpy's
/// unique.
fn ordered(x: f64) -> i64 {
    // Adding 0 turns -0.0 into 0.0.
    let bits = if x.is_nan() { f64::NAN.to_bits() } else { (x + 0.0).to_bits() } as i64;
    if bits < 0 { bits ^ i64::MAX } else { bits }
}
