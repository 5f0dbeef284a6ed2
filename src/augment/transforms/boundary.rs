//! Boundaries between labels, as `skimage.segmentation.find_boundaries`.

use super::labels::Label;
use crate::resample::gaussian::{Edge, gaussian_filter, weights};
use crate::volume::Volume;
use crate::with_values;

/// Which side of a boundary is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Both.
    Thick,
    /// Voxels that are not 0.
    Inner,
    /// Voxels that are 0, and voxels of objects that touch another object.
    Outer,
}

pub const SIDES: &[&str] = &["thick", "inner", "outer"];

impl Side {
    /// The side for one of the words of [`SIDES`].
    pub fn of(word: &str) -> Option<Side> {
        match word {
            "thick" => Some(Side::Thick),
            "inner" => Some(Side::Inner),
            "outer" => Some(Side::Outer),
            _ => None,
        }
    }
}

/// Sets voxels of a label (D, H, W) to 1 if a voxel in their neighbourhood has another value, and
/// all others to 0. The neighbourhood consists of the voxels that differ by at most 1 in at most
/// `connectivity` coordinates. The border of the volume is not a boundary.
pub fn find_boundaries(label: &Volume, connectivity: usize, side: Side, mask: &mut [u8]) {
    let size = label.size();
    with_values!(&label.values, values => {
        let values = values.as_slice().expect("volumes are contiguous");
        mark_changes(values, size, connectivity, mask);
        match side {
            Side::Thick => {}
            Side::Inner => {
                for (mark, value) in mask.iter_mut().zip(values) {
                    *mark &= u8::from(!value.is(0));
                }
            }
            Side::Outer => keep_outer(values, size, mask),
        }
    });
}

fn mark_changes<T: Label>(label: &[T], size: [usize; 3], connectivity: usize, mask: &mut [u8]) {
    mask.fill(0);
    let [depth, height, width] = size;
    if label.is_empty() {
        return;
    }
    // Each pair of neighbours is compared once, and both voxels are marked.
    let rows_ahead: [(usize, isize); 4] = [(0, 1), (1, -1), (1, 0), (1, 1)];
    let mut changes = vec![0u8; width];
    for z in 0..depth {
        for y in 0..height {
            let row = (z * height + y) * width;
            let here = &label[row..row + width];
            differences(&here[..width - 1], &here[1..], &mut changes[1..]);
            let marks = &mut mask[row..row + width];
            join(&mut marks[..width - 1], &changes[1..]);
            join(&mut marks[1..], &changes[1..]);
            for (dz, dy) in rows_ahead {
                let far = dz + dy.unsigned_abs();
                let Some(y) = y.checked_add_signed(dy).filter(|&y| y < height) else { continue };
                if far > connectivity || z + dz >= depth {
                    continue;
                }
                let other = ((z + dz) * height + y) * width;
                let there = &label[other..other + width];
                let (before, after) = mask.split_at_mut(other);
                let (marks, marks_there) = (&mut before[row..row + width], &mut after[..width]);
                differences(here, there, &mut changes);
                join(marks, &changes);
                join(marks_there, &changes);
                if far < connectivity {
                    differences(&here[..width - 1], &there[1..], &mut changes[1..]);
                    join(&mut marks[..width - 1], &changes[1..]);
                    join(&mut marks_there[1..], &changes[1..]);
                    differences(&here[1..], &there[..width - 1], &mut changes[1..]);
                    join(&mut marks[1..], &changes[1..]);
                    join(&mut marks_there[..width - 1], &changes[1..]);
                }
            }
        }
    }
}

fn differences<T: PartialEq>(a: &[T], b: &[T], changes: &mut [u8]) {
    for ((change, a), b) in changes.iter_mut().zip(a).zip(b) {
        *change = u8::from(a != b);
    }
}

fn join(marks: &mut [u8], changes: &[u8]) {
    for (mark, change) in marks.iter_mut().zip(changes) {
        *mark |= change;
    }
}

/// Keeps those marked voxels that are background or whose 26 neighbours include another object.
fn keep_outer<T: Label>(label: &[T], size: [usize; 3], mask: &mut [u8]) {
    let [depth, height, width] = size;
    for (at, mark) in mask.iter_mut().enumerate() {
        if *mark == 0 || label[at] == T::ZERO {
            continue;
        }
        // Compares the largest value with the smallest one that is not background, as skimage
        // compares a dilation with an erosion.
        let (mut largest, mut smallest) = (label[at], label[at]);
        let (z, y, x) = (at / (height * width), at / width % height, at % width);
        for z in z.saturating_sub(1)..(z + 2).min(depth) {
            for y in y.saturating_sub(1)..(y + 2).min(height) {
                let row = (z * height + y) * width;
                for &value in &label[row + x.saturating_sub(1)..row + (x + 2).min(width)] {
                    if value > largest {
                        largest = value;
                    }
                    if value != T::ZERO && value < smallest {
                        smallest = value;
                    }
                }
            }
        }
        *mark = u8::from(largest != smallest);
    }
}

/// Smooths a mask of `size` with a gaussian (edge voxels repeated, truncated at four standard
/// deviations) and marks voxels of at least one half, like a thresholded
/// `skimage.filters.gaussian`.
pub fn blur(mask: &mut [u8], size: [usize; 3], sigma: f64) {
    let mut smooth: Vec<f32> = mask.iter().map(|&mark| f32::from(mark)).collect();
    gaussian_filter(&mut smooth, size, [sigma; 3], Edge::Nearest);
    // Values that are too close to one half for float32 are computed again in float64.
    let decided = |value: f32| (value - 0.5).abs() > 1e-5;
    let close: Vec<(usize, u8)> = (0..mask.len())
        .filter(|&at| !decided(smooth[at]))
        .map(|at| (at, u8::from(smoothed_at(mask, size, at, &weights(sigma)) >= 0.5)))
        .collect();
    for (mark, value) in mask.iter_mut().zip(&smooth) {
        *mark = u8::from(*value >= 0.5);
    }
    for (at, mark) in close {
        mask[at] = mark;
    }
}

/// One voxel of the smoothed mask, summed in scipy's order: along z, then y, then
/// x, from the outermost pair inwards.
fn smoothed_at(mask: &[u8], size: [usize; 3], at: usize, weights: &[f64]) -> f64 {
    let [depth, height, width] = size;
    let (z, y, x) = (at / (height * width), at / width % height, at % width);
    let radius = weights.len() as isize - 1;
    let clamp = |i: usize, d: isize, n: usize| (i as isize + d).clamp(0, n as isize - 1) as usize;
    let sum = |value: &dyn Fn(isize) -> f64| {
        (1..=radius).rev().fold(value(0) * weights[0], |sum, i| {
            sum + (value(-i) + value(i)) * weights[i as usize]
        })
    };
    sum(&|dx| {
        let x = clamp(x, dx, width);
        sum(&|dy| {
            let y = clamp(y, dy, height);
            sum(&|dz| f64::from(mask[(clamp(z, dz, depth) * height + y) * width + x]))
        })
    })
}
