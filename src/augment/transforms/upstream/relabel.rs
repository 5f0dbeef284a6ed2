//! `Relabel`: numbers the connected components of labels, or the labels themselves.

use std::collections::BTreeMap;

use anyhow::Result;
use ndarray::{Array4, Axis, concatenate};

use super::{ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape};
use crate::config::Parameter;
use crate::volume::{Element, Values, Volume};

pub(in super::super) static ENTRY: TransformEntry = TransformEntry {
    name: "Relabel",
    class: TransformClass::Conversion,
    meaning: "Numbers the connected components of equal value of (D, H, W), neighbours across \
              faces, edges and corners, and replaces them by their ranks from 0 (int64).",
    parameters: &[
        Parameter::flag("run_cc", true, "false: the values themselves, not their components"),
        Parameter::flag(
            "append_original",
            false,
            "the labels as they were become a second channel",
        ),
        Parameter::integer(
            "ignore_label",
            0,
            "value that is background in place of 0; needs `append_original`",
        )
        .optional(),
    ],
    build: |section| {
        let append_original = section.flag("append_original");
        let ignored = section.maybe_integer("ignore_label");
        if ignored.is_some() && !append_original {
            return Err(section.error(
                "ignore_label",
                "set `append_original: true`, so that the ignored voxels can be found again",
            ));
        }
        Ok(Box::new(Relabel {
            components: section.flag("run_cc"),
            background: ignored.unwrap_or(0),
            append_original,
        }))
    },
};

struct Relabel {
    components: bool,
    /// Value that is no component.
    background: i64,
    append_original: bool,
}

impl Transform for Relabel {
    fn apply(&self, volume: Volume, _: &TransformContext<'_>) -> Result<Volume> {
        let size = volume.size();
        let Values::I64(original) = volume.cast(Element::I64).values else {
            unreachable!("the volume was cast");
        };
        let values = original.as_slice().expect("volumes are contiguous");
        let labels = match self.components {
            true => label_components(values, size, self.background),
            false => values.to_vec(),
        };
        let mut result = Array4::from_shape_vec(original.dim(), ranks(&labels))?;
        if self.append_original {
            result = concatenate(Axis(0), &[result.view(), original.view()])?;
            return Ok(Volume::channelled(result));
        }
        Ok(Volume::plain(result))
    }

    fn output_shape(&self, mut input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        input.wants_3d()?;
        if self.append_original {
            input.channels = Some(2);
        }
        Ok(input.with_element(Element::I64))
    }
}

/// Numbers components of equal value from 1 in the order of their first voxels; 0 is
/// background. Neighbours differ by at most 1 in every coordinate.
fn label_components(values: &[i64], size: [usize; 3], background: i64) -> Vec<i64> {
    let [depth, height, width] = size;
    // Each voxel leads to a voxel of its component that comes before it, or to itself.
    let mut parent: Vec<u32> = (0..values.len() as u32).collect();
    fn root(parent: &mut [u32], mut at: u32) -> u32 {
        while parent[at as usize] != at {
            let above = parent[parent[at as usize] as usize];
            parent[at as usize] = above;
            at = above;
        }
        at
    }
    for z in 0..depth {
        for y in 0..height {
            for x in 0..width {
                let at = (z * height + y) * width + x;
                if values[at] == background {
                    continue;
                }
                for (dz, dy, dx) in BEFORE {
                    let (Some(z), Some(y), Some(x)) = (
                        z.checked_add_signed(dz),
                        y.checked_add_signed(dy).filter(|&y| y < height),
                        x.checked_add_signed(dx).filter(|&x| x < width),
                    ) else {
                        continue;
                    };
                    let other = (z * height + y) * width + x;
                    if values[other] == values[at] {
                        let a = root(&mut parent, at as u32);
                        let b = root(&mut parent, other as u32);
                        parent[a.max(b) as usize] = a.min(b);
                    }
                }
            }
        }
    }
    let mut next = 0;
    let mut numbers = vec![0i64; values.len()];
    for at in 0..values.len() {
        if values[at] == background {
            continue;
        }
        let root = root(&mut parent, at as u32) as usize;
        if root == at {
            next += 1;
            numbers[at] = next;
        } else {
            numbers[at] = numbers[root];
        }
    }
    numbers
}

/// The neighbours that come before a voxel in the order of z, y, x.
const BEFORE: [(isize, isize, isize); 13] = [
    (-1, -1, -1),
    (-1, -1, 0),
    (-1, -1, 1),
    (-1, 0, -1),
    (-1, 0, 0),
    (-1, 0, 1),
    (-1, 1, -1),
    (-1, 1, 0),
    (-1, 1, 1),
    (0, -1, -1),
    (0, -1, 0),
    (0, -1, 1),
    (0, 0, -1),
];

/// The rank of each value among the values there are, from 0.
fn ranks(values: &[i64]) -> Vec<i64> {
    let mut ranks: BTreeMap<i64, i64> = values.iter().map(|&value| (value, 0)).collect();
    ranks.values_mut().zip(0..).for_each(|(rank, number)| *rank = number);
    values.iter().map(|value| ranks[value]).collect()
}
