//! Interpolation at the points of a [`Map`].

use multiversion::multiversion;

use super::Size;
use super::map::{Map, Row};
pub use super::plan::Border;
use super::plan::{OUTSIDE, RowPlan, fold};
use super::spline::{Coefficients, cubic, quadratic};

/// The value outside the volume for a channel. It is computed only if needed, because a median
/// costs as much as the interpolation.
pub type Fill<'a, T> = &'a mut dyn FnMut(usize) -> T;

/// The fill values of the channels, computed when first asked for.
struct Fills<'a, T> {
    compute: Fill<'a, T>,
    known: Vec<Option<T>>,
}

impl<'a, T: Copy> Fills<'a, T> {
    fn new(compute: Fill<'a, T>, channels: usize) -> Self {
        Fills { compute, known: vec![None; channels] }
    }

    /// The fill value for a row, or `any` if no point of the row is outside.
    fn of(&mut self, plan: &RowPlan, channel: usize, any: T) -> T {
        if !plan.outside {
            return any;
        }
        *self.known[channel].get_or_insert_with(|| (self.compute)(channel))
    }
}

/// Computes the plan of every row and applies it to every channel: `take` gets the channel, the
/// offset of the row in it, and the plan.
fn rows(
    size: Size,
    border: Border,
    map: &mut dyn Map,
    channels: usize,
    plan_row: impl Fn(&Row, &mut RowPlan),
    mut take: impl FnMut(usize, usize, &RowPlan),
) {
    let [depth, height, width] = size;
    assert!(size.iter().product::<usize>() < 1 << 31, "a patch has less than 2^31 voxels");
    let mut row = Row::new(width);
    let mut source = |z, y, plan: &mut RowPlan| {
        map.row(z, y, &mut row);
        if border == Border::Reflect {
            fold(&mut row, size);
        }
        plan_row(&row, plan);
    };
    if depth == 1 && channels > 1 {
        // All slices have the same plan: keeps it, so that one slice after the other stays in
        // cache.
        let mut plans = vec![RowPlan::new(width); height];
        for (y, plan) in plans.iter_mut().enumerate() {
            source(0, y, plan);
        }
        for channel in 0..channels {
            for (y, plan) in plans.iter().enumerate() {
                take(channel, y * width, plan);
            }
        }
        return;
    }
    let mut plan = RowPlan::new(width);
    for z in 0..depth {
        for y in 0..height {
            source(z, y, &mut plan);
            for channel in 0..channels {
                take(channel, (z * height + y) * width, &plan);
            }
        }
    }
}

/// Nearest-neighbour interpolation; halves are rounded up. `input` and `output` are (C, D, H, W)
/// with `size` = (D, H, W).
pub fn nearest<T: Copy>(
    input: &[T],
    size: Size,
    border: Border,
    map: &mut dyn Map,
    fill: Fill<'_, T>,
    output: &mut [T],
) {
    let voxels: usize = size.iter().product();
    let Some(&any) = input.first() else { return };
    let channels = input.len() / voxels;
    let mut fills = Fills::new(fill, channels);
    let plan_row = |row: &Row, plan: &mut RowPlan| plan.nearest(row, border, size);
    rows(size, border, map, channels, plan_row, |channel, start, plan| {
        let fill = fills.of(plan, channel, any);
        let first = channel * voxels;
        let out = &mut output[first + start..][..size[2]];
        take_nearest(&input[first..first + voxels], plan, fill, out);
    });
}

/// Linear interpolation of a volume (C, D, H, W) with `size` = (D, H, W).
pub fn linear(
    input: &[f32],
    size: Size,
    border: Border,
    map: &mut dyn Map,
    fill: Fill<'_, f32>,
    output: &mut [f32],
) {
    let voxels: usize = size.iter().product();
    let channels = input.len().checked_div(voxels).unwrap_or(0);
    let mut fills = Fills::new(fill, channels);
    let plan_row = |row: &Row, plan: &mut RowPlan| plan.linear(row, border, size);
    rows(size, border, map, channels, plan_row, |channel, start, plan| {
        let fill = fills.of(plan, channel, 0.0);
        let first = channel * voxels;
        let out = &mut output[first + start..][..size[2]];
        take_linear(&input[first..first + voxels], size, plan, fill, out);
    });
}

/// Spline interpolation of order 2 or 3 of a volume (C, D, H, W) with `size` =
/// (D, H, W), given the coefficients of each channel.
pub fn spline(
    coefficients: &[Coefficients],
    size: Size,
    order: usize,
    border: Border,
    map: &mut dyn Map,
    fill: Fill<'_, f32>,
    output: &mut [f32],
) {
    let voxels: usize = size.iter().product();
    let mut fills = Fills::new(fill, coefficients.len());
    let mut sums = vec![[0.0; 4]; size[2]];
    let plan_row = |row: &Row, plan: &mut RowPlan| plan.spline(row, border, size, order);
    rows(size, border, map, coefficients.len(), plan_row, |channel, start, plan| {
        let fill = fills.of(plan, channel, 0.0);
        let out = &mut output[channel * voxels + start..][..size[2]];
        let Coefficients { values, size } = &coefficients[channel];
        // With one slice, the spline is constant along z.
        match (order, size[0]) {
            (2, _) => take_quadratic(values, *size, plan, fill, out),
            (_, 1) => take_cubic_plane(values, *size, plan, &mut sums, fill, out),
            (_, _) => take_cubic(values, *size, plan, &mut sums, fill, out),
        }
    });
}

fn take_nearest<T: Copy>(input: &[T], plan: &RowPlan, fill: T, out: &mut [T]) {
    for (out, &offset) in out.iter_mut().zip(&plan.offsets) {
        *out = if offset == OUTSIDE { fill } else { input[offset as usize] };
    }
}

#[inline(always)]
fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + t * (b - a)
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn take_linear(input: &[f32], size: Size, plan: &RowPlan, fill: f32, out: &mut [f32]) {
    let [depth, height, width] = size;
    let x = usize::from(width > 1);
    let y = if height > 1 { width } else { 0 };
    let z = if depth > 1 { height * width } else { 0 };
    let fractions = plan.z.iter().zip(&plan.y).zip(&plan.x);
    for ((out, &offset), ((&fz, &fy), &fx)) in out.iter_mut().zip(&plan.offsets).zip(fractions) {
        if offset == OUTSIDE {
            *out = fill;
            continue;
        }
        // Interpolates along x, then y, then z. If all eight values agree, the result equals
        // them.
        let mut lines = [0f32; 4];
        for (line, start) in lines.iter_mut().zip([0, y, z, z + y]) {
            let pair = &input[offset as usize + start..][..x + 1];
            *line = mix(pair[0], pair[x], fx);
        }
        *out = mix(mix(lines[0], lines[1], fy), mix(lines[2], lines[3], fy), fz);
    }
}

/// Adds `weight` times four coefficients.
#[inline(always)]
fn add(sum: &mut [f32; 4], weight: f32, line: &[f32]) {
    if let Some(line) = line.first_chunk::<4>() {
        for x in 0..4 {
            sum[x] += weight * line[x];
        }
    }
}

/// Sums over y of four rows from `start`, for each tap along x.
#[inline(always)]
fn cubic_plane(
    input: &[f32],
    start: usize,
    width: usize,
    weights: &[Vec<f32>; 4],
    i: usize,
) -> [f32; 4] {
    let mut plane = [0f32; 4];
    for (y, weights) in weights.iter().enumerate() {
        add(&mut plane, weights[i], &input[start + y * width..]);
    }
    plane
}

/// The sums over x. They are passed through memory, because otherwise the compiler splits the
/// four lanes of the previous loop into pairs.
#[inline(always)]
fn cubic_line(plan: &RowPlan, sums: &[[f32; 4]], fill: f32, out: &mut [f32]) {
    let points = plan.offsets.iter().zip(&plan.x).zip(sums);
    for (out, ((&offset, &fx), sum)) in out.iter_mut().zip(points) {
        let wx = cubic(fx);
        let value = (sum[0] * wx[0] + sum[1] * wx[1]) + (sum[2] * wx[2] + sum[3] * wx[3]);
        *out = if offset == OUTSIDE { fill } else { value };
    }
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn take_cubic(
    input: &[f32],
    padded: Size,
    plan: &RowPlan,
    sums: &mut [[f32; 4]],
    fill: f32,
    out: &mut [f32],
) {
    let [_, height, width] = padded;
    for (i, (total, &offset)) in sums.iter_mut().zip(&plan.offsets).enumerate() {
        if offset == OUTSIDE {
            continue;
        }
        let mut sum = [0f32; 4];
        for (z, weights) in plan.weights_z.iter().enumerate() {
            let start = offset as usize + z * height * width;
            let plane = cubic_plane(input, start, width, &plan.weights_y, i);
            add(&mut sum, weights[i], &plane);
        }
        *total = sum;
    }
    cubic_line(plan, sums, fill, out);
}

/// [`take_cubic`] of a volume of one slice.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn take_cubic_plane(
    input: &[f32],
    padded: Size,
    plan: &RowPlan,
    sums: &mut [[f32; 4]],
    fill: f32,
    out: &mut [f32],
) {
    for (i, (total, &offset)) in sums.iter_mut().zip(&plan.offsets).enumerate() {
        if offset != OUTSIDE {
            *total = cubic_plane(input, offset as usize, padded[2], &plan.weights_y, i);
        }
    }
    cubic_line(plan, sums, fill, out);
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn take_quadratic(input: &[f32], padded: Size, plan: &RowPlan, fill: f32, out: &mut [f32]) {
    let [depth, height, width] = padded;
    let fractions = plan.z.iter().zip(&plan.y).zip(&plan.x);
    for ((out, &offset), ((&fz, &fy), &fx)) in out.iter_mut().zip(&plan.offsets).zip(fractions) {
        if offset == OUTSIDE {
            *out = fill;
            continue;
        }
        let (mut wz, wy, wx) = (quadratic(fz), quadratic(fy), quadratic(fx));
        if depth == 1 {
            wz = [1.0, 0.0, 0.0];
        }
        let mut sum = 0f32;
        for (z, &wz) in wz.iter().enumerate().take(depth) {
            for (y, &wy) in wy.iter().enumerate() {
                let o = offset as usize + (z * height + y) * width;
                let line = &input[o..o + 3];
                sum += wz * wy * (line[0] * wx[0] + line[1] * wx[1] + line[2] * wx[2]);
            }
        }
        *out = sum;
    }
}
