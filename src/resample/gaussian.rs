//! Separable gaussian filter, as `scipy.ndimage.gaussian_filter`.

use multiversion::multiversion;

use super::{Size, reflect_index};

/// f32 or f64.
pub trait Real:
    Copy
    + Default
    + Send
    + Sync
    + 'static
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
{
    fn of(value: f64) -> Self;
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as f32
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }
}

/// How a filter extends the volume beyond its border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The volume mirrored, edge voxels repeated: scipy's `reflect`.
    Reflect,
    /// The edge voxel: scipy's `nearest`.
    Nearest,
}

impl Edge {
    fn index(self, i: isize, n: usize) -> usize {
        match self {
            Edge::Reflect => reflect_index(i, n),
            Edge::Nearest => i.clamp(0, n as isize - 1) as usize,
        }
    }
}

/// The weights of a gaussian from the centre outwards, truncated at four standard deviations;
/// they sum to one over both sides. With a sigma of 0 there is no filtering.
pub fn weights(sigma: f64) -> Vec<f64> {
    // scipy leaves an axis alone below this sigma.
    if sigma <= 1e-15 {
        return vec![1.0];
    }
    let radius = (4.0 * sigma + 0.5) as usize;
    let half: Vec<f64> =
        (0..=radius).map(|i| (-0.5 / (sigma * sigma) * (i * i) as f64).exp()).collect();
    let sum = half[0] + 2.0 * half[1..].iter().sum::<f64>();
    half.into_iter().map(|weight| weight / sum).collect()
}

/// The filter of one axis: the weights, and the voxels read at each position.
#[derive(Clone, Debug)]
pub struct Axis<T> {
    weights: Vec<T>,
    /// Voxel shown at `i - radius`, for i in `0..n + 2 * radius`.
    shown: Vec<usize>,
}

impl<T: Real> Axis<T> {
    pub fn new(sigma: f64, n: usize, edge: Edge) -> Self {
        let weights: Vec<T> = weights(sigma).into_iter().map(T::of).collect();
        let radius = weights.len() as isize - 1;
        let shown = (-radius..n as isize + radius).map(|i| edge.index(i, n)).collect();
        Axis { weights, shown }
    }

    fn radius(&self) -> usize {
        self.weights.len() - 1
    }

    /// True if the filter changes nothing.
    pub fn is_identity(&self) -> bool {
        self.weights.len() == 1
    }
}

/// Filters `values` of `size` in place, with a standard deviation in voxels for
/// each of z, y, x. Extra memory: one slice.
pub fn gaussian_filter<T: Real>(values: &mut [T], size: Size, sigma: [f64; 3], edge: Edge) {
    assert_eq!(values.len(), size.iter().product::<usize>());
    let [depth, height, width] = size;
    let mut scratch = Vec::new();
    let along_z = Axis::new(sigma[0], depth, edge);
    if !along_z.is_identity() {
        // One y at a time, so that the data of a step stay in cache.
        for y in 0..height {
            scratch.clear();
            for z in 0..depth {
                let start = (z * height + y) * width;
                scratch.extend_from_slice(&values[start..start + width]);
            }
            for z in 0..depth {
                let start = (z * height + y) * width;
                across(&scratch, &along_z, z, &mut values[start..start + width]);
            }
        }
    }
    let along_y = Axis::new(sigma[1], height, edge);
    if !along_y.is_identity() {
        for slice in values.chunks_exact_mut((height * width).max(1)) {
            scratch.clear();
            scratch.extend_from_slice(slice);
            for (y, row) in slice.chunks_exact_mut(width).enumerate() {
                across(&scratch, &along_y, y, row);
            }
        }
    }
    let along_x = Axis::new(sigma[2], width, edge);
    if !along_x.is_identity() {
        let mut extended = Vec::new();
        for row in values.chunks_exact_mut(width.max(1)) {
            scratch.clear();
            scratch.extend_from_slice(row);
            along(&scratch, &along_x, &mut extended, row);
        }
    }
}

/// Number of sums that are kept in registers.
const LANES: usize = 32;

/// The weighted sum of `LANES` neighbouring positions; `line(i)` gives their values at tap i.
/// `None` if fewer positions are left.
#[inline(always)]
fn weighted<'a, T: Real>(
    weights: &[T],
    centre: usize,
    line: impl Fn(usize) -> Option<&'a [T; LANES]>,
) -> Option<[T; LANES]> {
    let (&first, others) = weights.split_first()?;
    let middle = line(centre)?;
    let mut sum: [T; LANES] = std::array::from_fn(|l| first * middle[l]);
    for (j, &weight) in others.iter().enumerate() {
        let (a, b) = (line(centre - j - 1)?, line(centre + j + 1)?);
        for l in 0..LANES {
            sum[l] = sum[l] + weight * (a[l] + b[l]);
        }
    }
    Some(sum)
}

/// Writes position `at` of a filter across rows: `rows` holds all rows of the axis in sequence,
/// each as long as `out`.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
pub fn across<T: Real>(rows: &[T], axis: &Axis<T>, at: usize, out: &mut [T]) {
    let width = out.len();
    let centre = at + axis.radius();
    let start_of = |i: usize| axis.shown[i] * width;
    for (block, out) in out.chunks_mut(LANES).enumerate() {
        let start = block * LANES;
        if out.len() == LANES {
            let line = |i: usize| rows[start_of(i) + start..].first_chunk::<LANES>();
            if let Some(sum) = weighted(&axis.weights, centre, line) {
                out.copy_from_slice(&sum);
            }
            continue;
        }
        let line = |i: usize| &rows[start_of(i) + start..][..out.len()];
        let mut sum = [T::default(); LANES];
        for (sum, &value) in sum.iter_mut().zip(line(centre)) {
            *sum = axis.weights[0] * value;
        }
        for (j, &weight) in axis.weights.iter().enumerate().skip(1) {
            let pairs = line(centre - j).iter().zip(line(centre + j));
            for (sum, (&a, &b)) in sum.iter_mut().zip(pairs) {
                *sum = *sum + weight * (a + b);
            }
        }
        out.copy_from_slice(&sum[..out.len()]);
    }
}

/// Filters one contiguous row. `extended` is a buffer that is reused.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
pub fn along<T: Real>(row: &[T], axis: &Axis<T>, extended: &mut Vec<T>, out: &mut [T]) {
    let (width, radius) = (row.len(), axis.radius());
    extended.clear();
    extended.extend(axis.shown[..radius].iter().map(|&i| row[i]));
    extended.extend_from_slice(row);
    extended.extend(axis.shown[width + radius..].iter().map(|&i| row[i]));
    // Space for the last block, which reads beyond the end.
    extended.resize(width.div_ceil(LANES) * LANES + 2 * radius, T::default());
    for (block, out) in out.chunks_mut(LANES).enumerate() {
        let line = |i: usize| extended[i..].first_chunk::<LANES>();
        if let Some(sum) = weighted(&axis.weights, block * LANES + radius, line) {
            out.copy_from_slice(&sum[..out.len()]);
        }
    }
}
