//! Smooth random fields as sums of cosines.
//!
//! A gaussian filter whose border repeats the edge is diagonal in the cosine basis cos(πk(i+½)/n)
//! (the discrete cosine transform of type II): it scales mode k by λ_k = w_0 + 2 Σ_j w_j
//! cos(πkj/n), where w are the weights of the filter. White noise is white in every orthonormal
//! basis. Filtered normal noise therefore has the same distribution as a sum of modes with
//! amplitudes λ·N(0,1), and a wide filter leaves only a few modes. Drawing these amplitudes
//! replaces one random number per voxel, and the field is never stored.

use std::f64::consts::PI;

use multiversion::multiversion;

use super::Size;
use super::gaussian::weights;
use super::map::{Map, Row, ramp};

/// Number of values that are computed at once.
const LANES: usize = 16;

/// Modes are omitted as long as together they move a voxel by less than this (root mean square,
/// in voxels).
const NEGLIGIBLE: f64 = 1e-4;

/// The spectrum of scale · gaussian_filter(noise, sigma) over a volume.
#[derive(Clone, Debug)]
pub struct Spectrum {
    size: Size,
    /// λ of the modes that are kept, per axis.
    factors: [Vec<f64>; 3],
    scale: f64,
}

impl Spectrum {
    pub fn of_gaussian(size: Size, sigma: f64, scale: f64) -> Self {
        let all = size.map(|n| eigenvalues(&weights(sigma), n));
        let power = |factors: &[f64]| factors.iter().map(|f| f * f).sum::<f64>();
        let voxels: f64 = size.iter().map(|&n| n as f64).product();
        let total: f64 = all.iter().map(|factors| power(factors)).product();
        // Each axis may omit a third of it.
        let allowed = NEGLIGIBLE * NEGLIGIBLE / 3.0 * voxels / (scale * scale);
        let factors = all.map(|mut factors| {
            let others = total / power(&factors);
            let mut count = factors.len();
            let mut dropped = 0.0;
            while count > 1 {
                dropped += factors[count - 1] * factors[count - 1] * others;
                if dropped > allowed {
                    break;
                }
                count -= 1;
            }
            // Rounds up to whole vectors, which costs nothing.
            factors.truncate(count.next_multiple_of(LANES));
            factors
        });
        Spectrum { size, factors, scale }
    }

    /// Modes kept along z, y and x.
    pub fn counts(&self) -> Size {
        self.factors.each_ref().map(Vec::len)
    }

    /// The amplitudes of a field, from one normal random number per kept mode, in the order
    /// [z][y][x].
    pub fn amplitudes(&self, mut normal: impl FnMut() -> f64) -> Vec<f32> {
        let [z, y, x] = &self.factors;
        let mut amplitudes = Vec::with_capacity(z.len() * y.len() * x.len());
        for z in z {
            for y in y {
                for x in x {
                    amplitudes.push((self.scale * z * y * x * normal()) as f32);
                }
            }
        }
        amplitudes
    }

    /// A displacement with the given amplitudes in z, y and x; `None` for no displacement along
    /// an axis.
    pub fn field(&self, amplitudes: [Option<Vec<f32>>; 3]) -> Field {
        let count = self.counts().iter().product::<usize>();
        assert!(amplitudes.iter().flatten().all(|component| component.len() == count));
        let tables = std::array::from_fn(|axis| {
            let (n, modes) = (self.size[axis], self.factors[axis].len());
            (0..modes).flat_map(|k| (0..n).map(move |i| basis(k, i, n) as f32)).collect()
        });
        Field { size: self.size, modes: self.counts(), tables, amplitudes }
    }
}

/// The factor by which a symmetric filter scales each mode of `n` voxels.
fn eigenvalues(half: &[f64], n: usize) -> Vec<f64> {
    (0..n)
        .map(|k| {
            let frequency = PI * k as f64 / n as f64;
            let sides: f64 = (1..half.len()).map(|j| half[j] * (frequency * j as f64).cos()).sum();
            half[0] + 2.0 * sides
        })
        .collect()
}

/// Value of mode `k` at voxel `i` of `n`; the modes are orthonormal.
fn basis(k: usize, i: usize, n: usize) -> f64 {
    let norm = if k == 0 { 1.0 } else { 2.0 };
    (norm / n as f64).sqrt() * (PI * k as f64 * (i as f64 + 0.5) / n as f64).cos()
}

/// A displacement field as sums of cosines; see [`Field::map`].
#[derive(Clone, Debug)]
pub struct Field {
    size: Size,
    modes: Size,
    /// Per axis: [k][i].
    tables: [Vec<f32>; 3],
    /// Per component, z, y and x: [kz][ky][kx].
    amplitudes: [Option<Vec<f32>>; 3],
}

impl Field {
    /// The map p → p + displacement(p).
    pub fn map(&self) -> FieldMap<'_> {
        let [_, y, x] = self.modes;
        let zeros = |count: usize| std::array::from_fn(|_| vec![0.0; count]);
        FieldMap { field: self, z: None, slices: zeros(y * x), lines: zeros(x) }
    }
}

/// [`Field`] as a [`Map`], with the sums that the rows of one slice share.
#[derive(Clone, Debug)]
pub struct FieldMap<'a> {
    field: &'a Field,
    /// The slice to which `slices` belong.
    z: Option<usize>,
    /// Per component: amplitudes in the slice, [ky][kx], and in the row, [kx].
    slices: [Vec<f32>; 3],
    lines: [Vec<f32>; 3],
}

impl Map for FieldMap<'_> {
    fn row(&mut self, z: usize, y: usize, row: &mut Row) {
        let field = self.field;
        let [depth, height, _] = field.size;
        ramp(z as f64, 0.0, &mut row.z);
        ramp(y as f64, 0.0, &mut row.y);
        ramp(0.0, 1.0, &mut row.x);
        let [table_z, table_y, table_x] = &field.tables;
        // Components without a displacement keep their rows of zeros.
        for (axis, amplitudes) in field.amplitudes.iter().enumerate() {
            let Some(amplitudes) = amplitudes else { continue };
            let slice = &mut self.slices[axis];
            if self.z != Some(z) {
                combine(amplitudes, &at(table_z, z, depth), slice);
            }
            combine(slice, &at(table_y, y, height), &mut self.lines[axis]);
        }
        displace(table_x, &self.lines, row);
        self.z = Some(z);
    }
}

/// The values of all modes at position `i` of `n`.
fn at(table: &[f32], i: usize, n: usize) -> Vec<f32> {
    table.iter().skip(i).step_by(n).copied().collect()
}

/// Adds the sums of the modes along x, [k][i], to a row, for all components at once, so that each
/// value of the table is read once.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn displace(table: &[f32], lines: &[Vec<f32>; 3], row: &mut Row) {
    let width = row.x.len();
    let [z, y, x] = lines;
    let weights = || z.iter().zip(y).zip(x).map(|((&z, &y), &x)| [z, y, x]);
    for start in (0..width).step_by(LANES) {
        let count = LANES.min(width - start);
        let mut sums = [[0f32; LANES]; 3];
        for (k, weights) in weights().enumerate() {
            let line = &table[k * width + start..];
            if count == LANES {
                // The fixed length keeps the sums in registers.
                let Some(line) = line.first_chunk::<LANES>() else { return };
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    for l in 0..LANES {
                        sum[l] += weight * line[l];
                    }
                }
            } else {
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    for (sum, &value) in sum.iter_mut().zip(&line[..count]) {
                        *sum += weight * value;
                    }
                }
            }
        }
        for (out, sum) in [&mut row.z, &mut row.y, &mut row.x].into_iter().zip(&sums) {
            for (value, &sum) in out[start..start + count].iter_mut().zip(sum) {
                *value += f64::from(sum);
            }
        }
    }
}

/// Weighted sum of rows that are as long as `out`.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn combine(rows: &[f32], weights: &[f32], out: &mut [f32]) {
    let width = out.len();
    for (block, out) in out.chunks_mut(LANES).enumerate() {
        let start = block * LANES;
        let mut sum = [0f32; LANES];
        if out.len() == LANES {
            // The fixed length keeps the sums in registers.
            for (row, &weight) in weights.iter().enumerate() {
                let Some(line) = rows[row * width + start..].first_chunk::<LANES>() else { return };
                for l in 0..LANES {
                    sum[l] += weight * line[l];
                }
            }
        } else {
            for (row, &weight) in weights.iter().enumerate() {
                let line = &rows[row * width + start..][..out.len()];
                for (sum, &value) in sum.iter_mut().zip(line) {
                    *sum += weight * value;
                }
            }
        }
        out.copy_from_slice(&sum[..out.len()]);
    }
}
