//! B-spline weights, and the filter from voxels to B-spline coefficients.
//!
//! M. Unser, A. Aldroubi, M. Eden, "B-spline signal processing", IEEE Trans.
//! Signal Processing 41(2), 1993. With these coefficients the spline passes
//! through the voxels.

use multiversion::multiversion;

use super::{Size, mirror_index, reflect_index};

/// How the voxels are extended beyond the border for computing the coefficients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Edge repeated: scipy's `reflect`.
    Reflect,
    /// Edge not repeated: scipy's `constant` and ITK.
    Mirror,
}

/// Number of coefficients on every side that belong to the extension: a cubic spline at any point
/// of [-1, n] needs no others.
pub const PAD: usize = 2;

/// The padding on each side of each axis of a volume: [`PAD`], but none along z for a single
/// slice, whose spline is constant along z.
pub fn pad(size: Size) -> Size {
    [if size[0] == 1 { 0 } else { PAD }, PAD, PAD]
}

/// Spline coefficients with [`pad`] more of them on every side.
#[derive(Clone, Debug, Default)]
pub struct Coefficients {
    pub values: Vec<f32>,
    /// Size including the padding.
    pub size: Size,
}

/// The poles of the interpolation filter of order 2 and 3, sqrt(8)-3, sqrt(3)-2.
fn pole(order: usize) -> Option<f64> {
    match order {
        2 => Some(8f64.sqrt() - 3.0),
        3 => Some(3f64.sqrt() - 2.0),
        _ => None,
    }
}

impl Coefficients {
    /// The coefficients of order 2 or 3 of a volume (D, H, W).
    pub fn of(values: &[f32], size: Size, order: usize, extension: Extension) -> Self {
        assert_eq!(values.len(), size.iter().product::<usize>());
        let padded = std::array::from_fn(|axis| size[axis] + 2 * pad(size)[axis]);
        let mut coefficients =
            Coefficients { values: vec![0.0; padded.iter().product()], size: padded };
        coefficients.fill(values, size);
        if let Some(pole) = pole(order) {
            coefficients.filter(size, pole, extension);
        }
        coefficients.extend(size, extension);
        coefficients
    }

    fn start(&self, z: usize, y: usize) -> usize {
        (z * self.size[1] + y) * self.size[2]
    }

    fn fill(&mut self, values: &[f32], size: Size) {
        let [depth, height, width] = size;
        let pad_z = pad(size)[0];
        for z in 0..depth {
            for y in 0..height {
                let to = self.start(z + pad_z, y + PAD) + PAD;
                let from = (z * height + y) * width;
                self.values[to..to + width].copy_from_slice(&values[from..from + width]);
            }
        }
    }

    fn filter(&mut self, size: Size, pole: f64, extension: Extension) {
        let [depth, height, width] = size;
        let [_, padded_height, padded_width] = self.size;
        let pad_z = pad(size)[0];
        let slice = padded_height * padded_width;
        // An axis of one voxel is unchanged and has no gain.
        let filters = |axis: usize| size[axis] > 1;
        if filters(0) {
            // One y at a time, which stays in cache.
            for y in 0..height {
                let start = self.start(pad_z, y + PAD) + PAD;
                across(&mut self.values[start..], depth, slice, width, pole, extension);
            }
        }
        for z in 0..depth {
            if filters(1) {
                let start = self.start(z + pad_z, PAD) + PAD;
                across(&mut self.values[start..], height, padded_width, width, pole, extension);
            }
            if filters(2) {
                let start = self.start(z + pad_z, PAD) + PAD;
                along(&mut self.values[start..], height, padded_width, width, pole, extension);
            }
        }
    }

    /// Fills the padding.
    fn extend(&mut self, size: Size, extension: Extension) {
        let [depth, height, width] = size;
        let pad_z = pad(size)[0];
        let shown = |i: usize, pad: usize, n: usize| {
            let i = i as isize - pad as isize;
            pad + match extension {
                Extension::Reflect => reflect_index(i, n),
                Extension::Mirror => mirror_index(i, n),
            }
        };
        let [padded_depth, padded_height, padded_width] = self.size;
        for z in pad_z..pad_z + depth {
            for y in PAD..PAD + height {
                let start = self.start(z, y);
                let row = &mut self.values[start..start + padded_width];
                for i in (0..PAD).chain(PAD + width..padded_width) {
                    row[i] = row[shown(i, PAD, width)];
                }
            }
            for y in (0..PAD).chain(PAD + height..padded_height) {
                let from = self.start(z, shown(y, PAD, height));
                let to = self.start(z, y);
                self.values.copy_within(from..from + padded_width, to);
            }
        }
        let slice = padded_height * padded_width;
        for z in (0..pad_z).chain(pad_z + depth..padded_depth) {
            let from = self.start(shown(z, pad_z, depth), 0);
            let to = self.start(z, 0);
            self.values.copy_within(from..from + slice, to);
        }
    }
}

/// Number of terms of the initial sum that matter: |pole|^24 < 1e-13.
const HORIZON: usize = 24;

/// The weight of voxel i in the first causal coefficient, for the voxels that matter: those at
/// the start and, in short rows, those of the mirror image.
fn causal_start(n: usize, pole: f64, extension: Extension) -> Vec<f32> {
    let mut start = vec![0f64; n];
    let power = |k: usize| pole.powi(k as i32);
    match extension {
        Extension::Reflect => {
            let scale = pole / (1.0 - power(2 * n));
            for i in 0..n {
                start[i] += scale * power(i);
                start[n - 1 - i] += scale * power(i + n);
            }
            start[0] += 1.0;
        }
        Extension::Mirror => {
            let scale = 1.0 / (1.0 - power(2 * n - 2));
            start[0] += scale;
            start[n - 1] += scale * power(n - 1);
            for i in 1..n - 1 {
                start[i] += scale * power(i);
                start[n - 1 - i] += scale * power(i + n - 1);
            }
        }
    }
    start.truncate(HORIZON.max(2));
    start.into_iter().map(|weight| weight as f32).collect()
}

/// Weights of the last two causal values in the last coefficient.
fn anticausal_start(pole: f64, extension: Extension) -> [f32; 2] {
    let [before, last] = match extension {
        Extension::Reflect => [0.0, pole / (pole - 1.0)],
        Extension::Mirror => {
            let scale = pole / (pole * pole - 1.0);
            [pole * scale, scale]
        }
    };
    [before as f32, last as f32]
}

fn gain(pole: f64) -> f32 {
    ((1.0 - pole) * (1.0 - 1.0 / pole)) as f32
}

/// Filters `width` neighbouring columns at once, which run across `n` rows that are `stride`
/// apart.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn across(
    values: &mut [f32],
    n: usize,
    stride: usize,
    width: usize,
    pole: f64,
    extension: Extension,
) {
    let start = causal_start(n, pole, extension);
    let [before, last] = anticausal_start(pole, extension);
    let (gain, pole) = (gain(pole), pole as f32);
    let mut first = vec![0f32; width];
    for (i, &weight) in start.iter().enumerate() {
        let row = &values[i * stride..i * stride + width];
        for (sum, &value) in first.iter_mut().zip(row) {
            *sum += weight * gain * value;
        }
    }
    values[..width].copy_from_slice(&first);
    for i in 1..n {
        let (head, tail) = values.split_at_mut(i * stride);
        let previous = &head[(i - 1) * stride..][..width];
        for (value, &previous) in tail[..width].iter_mut().zip(previous) {
            *value = gain * *value + pole * previous;
        }
    }
    {
        let (head, tail) = values.split_at_mut((n - 1) * stride);
        let previous = &head[(n - 2) * stride..][..width];
        for (value, &previous) in tail[..width].iter_mut().zip(previous) {
            *value = before * previous + last * *value;
        }
    }
    for i in (0..n - 1).rev() {
        let (head, tail) = values.split_at_mut((i + 1) * stride);
        let row = &mut head[i * stride..][..width];
        for (value, &next) in row.iter_mut().zip(&tail[..width]) {
            *value = pole * (next - *value);
        }
    }
}

/// Filters `rows` contiguous rows of length `n` that are `stride` apart. Each value depends on
/// the previous one, so several rows are processed together.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn along(
    values: &mut [f32],
    rows: usize,
    stride: usize,
    n: usize,
    pole: f64,
    extension: Extension,
) {
    const LANES: usize = 16;
    let start = causal_start(n, pole, extension);
    let [before, last] = anticausal_start(pole, extension);
    let (gain, pole) = (gain(pole), pole as f32);
    // The rows side by side: value i of row l is at [i][l].
    let mut lines = vec![[0f32; LANES]; n];
    for block in (0..rows).step_by(LANES) {
        let count = LANES.min(rows - block);
        for l in 0..count {
            let row = &values[(block + l) * stride..][..n];
            for (line, &value) in lines.iter_mut().zip(row) {
                line[l] = gain * value;
            }
        }
        let mut previous = [0f32; LANES];
        for (line, &weight) in lines.iter().zip(&start) {
            for l in 0..LANES {
                previous[l] += weight * line[l];
            }
        }
        lines[0] = previous;
        for line in &mut lines[1..] {
            for l in 0..LANES {
                line[l] += pole * previous[l];
            }
            previous = *line;
        }
        let mut next = [0f32; LANES];
        for l in 0..LANES {
            next[l] = before * lines[n - 2][l] + last * lines[n - 1][l];
        }
        lines[n - 1] = next;
        for line in lines[..n - 1].iter_mut().rev() {
            for l in 0..LANES {
                line[l] = pole * (next[l] - line[l]);
            }
            next = *line;
        }
        for l in 0..count {
            let row = &mut values[(block + l) * stride..][..n];
            for (value, line) in row.iter_mut().zip(&lines) {
                *value = line[l];
            }
        }
    }
}

/// Weights of the four coefficients around a point, the fraction `t` in [0, 1)
/// beyond the second of them.
#[inline(always)]
pub fn cubic(t: f32) -> [f32; 4] {
    let u = 1.0 - t;
    let (t2, u2) = (t * t, u * u);
    let sixth = 1.0 / 6.0;
    [
        u2 * u * sixth,
        t2 * (0.5 * t - 1.0) + 4.0 * sixth,
        u2 * (0.5 * u - 1.0) + 4.0 * sixth,
        t2 * t * sixth,
    ]
}

/// Weights of the three coefficients around a point, `t` in [-0.5, 0.5) beyond
/// the middle one.
#[inline(always)]
pub fn quadratic(t: f32) -> [f32; 3] {
    let (a, b) = (0.5 - t, 0.5 + t);
    [0.5 * a * a, 0.75 - t * t, 0.5 * b * b]
}
