//! Interpolation at the points of a [`Map`].

use multiversion::multiversion;

use super::Size;
use super::map::{Map, Row};
use super::spline::{Coefficients, Extension, PAD, cubic, quadratic};

/// Whose rule says what lies beyond the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Border {
    /// scipy's `reflect`: the volume goes on mirrored at the faces of its outer
    /// voxels.
    Reflect,
    /// scipy's `constant`: a point beyond the centres of the outer voxels takes
    /// the fill value.
    Constant,
    /// ITK: a point outside [-0.5, n - 0.5) takes the fill value, and within
    /// half a voxel of the border the outer voxels go on.
    Itk,
}

impl Border {
    /// The words of scipy's `mode` that are understood.
    pub const MODES: &[&str] = &["reflect", "constant"];

    /// The rule of one of [`Border::MODES`].
    pub fn of_mode(mode: &str) -> Self {
        if mode == "constant" { Border::Constant } else { Border::Reflect }
    }

    /// How a spline under this rule goes on beyond the border.
    pub fn extension(self) -> Extension {
        match self {
            Border::Reflect => Extension::Reflect,
            Border::Constant | Border::Itk => Extension::Mirror,
        }
    }
}

/// Folds a coordinate into (-1, n) as scipy does: mirrored about -0.5 and
/// n - 0.5, but what lies within a voxel beyond the last centre stays there.
fn reflect(mut c: f64, n: f64) -> f64 {
    if n <= 1.0 {
        return 0.0;
    }
    let period = 2.0 * n;
    if c < 0.0 {
        if c < -period {
            c += period * (-c / period).trunc();
        }
        if c < -n {
            c + period
        } else {
            // Not quite -1: scipy keeps the points at 0 within rounding inside.
            (-c).max(1e-15) - 1.0
        }
    } else {
        c -= period * (c / period).trunc();
        if c >= n { period - c - 1.0 } else { c }
    }
}

/// Marks a point outside, in place of an offset into the volume.
const OUTSIDE: u32 = u32::MAX;

/// Where the points of a row lie in a volume: offset of the first voxel that
/// takes part, and the fractions beyond it.
#[derive(Debug, Default)]
struct Plan {
    offsets: Vec<u32>,
    z: Vec<f32>,
    y: Vec<f32>,
    x: Vec<f32>,
}

impl Plan {
    fn new(width: usize) -> Self {
        Plan {
            offsets: vec![0; width],
            z: vec![0.0; width],
            y: vec![0.0; width],
            x: vec![0.0; width],
        }
    }
}

/// Moves the points that have a mirror image inside, and makes the others NaN.
/// Returns whether there are such.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn confine(row: &mut Row, size: Size, border: Border) -> bool {
    let mut outside = false;
    for (line, n) in [&mut row.z, &mut row.y, &mut row.x].into_iter().zip(size) {
        let last = n as f64 - 1.0;
        match border {
            Border::Reflect => {
                let inside = line.iter().fold(true, |all, &c| all & (c >= 0.0) & (c <= last));
                if !inside {
                    for c in line.iter_mut() {
                        if !(*c >= 0.0 && *c <= last) {
                            *c = reflect(*c, n as f64);
                        }
                    }
                }
            }
            Border::Constant => {
                for c in line.iter_mut() {
                    let inside = (*c >= 0.0) & (*c <= last);
                    outside |= !inside;
                    *c = if inside { *c } else { f64::NAN };
                }
            }
            Border::Itk => {
                for c in line.iter_mut() {
                    let inside = (*c >= -0.5) & (*c < last + 0.5);
                    outside |= !inside;
                    *c = if inside { *c } else { f64::NAN };
                }
            }
        }
    }
    outside
}

/// The offset of each point's nearest voxel.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn plan_nearest(row: &Row, size: Size, plan: &mut Plan) {
    let [_, height, width] = size;
    let last = size.map(|n| n as f64 - 1.0);
    // Halves go up, in scipy and in ITK.
    let index = |c: f64, axis: usize| (c + 0.5).floor().clamp(0.0, last[axis]) as i32 as u32;
    for (i, offset) in plan.offsets.iter_mut().enumerate() {
        let (z, y, x) = (row.z[i], row.y[i], row.x[i]);
        let at = (index(z, 0) * height as u32 + index(y, 1)) * width as u32 + index(x, 2);
        *offset = if (z + y + x).is_nan() { OUTSIDE } else { at };
    }
}

/// The offset of the lowest of the eight voxels around each point. On an axis of
/// one voxel that is the only one, with fraction 0.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn plan_linear(row: &Row, size: Size, plan: &mut Plan) {
    let [_, height, width] = size;
    let last = size.map(|n| n as f64 - 1.0);
    let split = |c: f64, axis: usize| {
        let c = c.clamp(0.0, last[axis]);
        let index = c.floor().min((last[axis] - 1.0).max(0.0));
        (index as i32 as u32, (c - index) as f32)
    };
    let points = row.z.iter().zip(&row.y).zip(&row.x);
    let fractions = plan.z.iter_mut().zip(&mut plan.y).zip(&mut plan.x);
    for ((((&z, &y), &x), offset), ((fz, fy), fx)) in points.zip(&mut plan.offsets).zip(fractions) {
        let ((iz, tz), (iy, ty), (ix, tx)) = (split(z, 0), split(y, 1), split(x, 2));
        let at = (iz * height as u32 + iy) * width as u32 + ix;
        *offset = if (z + y + x).is_nan() { OUTSIDE } else { at };
        (*fz, *fy, *fx) = (tz, ty, tx);
    }
}

/// The offset of the lowest of the `order + 1` coefficients per axis around each
/// point, in the padded volume.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn plan_spline(row: &Row, padded: Size, order: usize, plan: &mut Plan) {
    let [_, height, width] = padded;
    let nudge = if order == 2 { 0.5 } else { 0.0 };
    let last = padded.map(|n| (n - 1 - order) as f64);
    let split = |c: f64, axis: usize| {
        let knot = (c + nudge).floor();
        let start = (knot + (PAD as f64 - 1.0)).clamp(0.0, last[axis]);
        (start as i32 as u32, (c - knot) as f32)
    };
    let points = row.z.iter().zip(&row.y).zip(&row.x);
    let fractions = plan.z.iter_mut().zip(&mut plan.y).zip(&mut plan.x);
    for ((((&z, &y), &x), offset), ((fz, fy), fx)) in points.zip(&mut plan.offsets).zip(fractions) {
        let ((iz, tz), (iy, ty), (ix, tx)) = (split(z, 0), split(y, 1), split(x, 2));
        let at = (iz * height as u32 + iy) * width as u32 + ix;
        *offset = if (z + y + x).is_nan() { OUTSIDE } else { at };
        (*fz, *fy, *fx) = (tz, ty, tx);
    }
}

fn take_nearest<T: Copy>(input: &[T], plan: &Plan, fill: T, out: &mut [T]) {
    for (out, &offset) in out.iter_mut().zip(&plan.offsets) {
        *out = if offset == OUTSIDE { fill } else { input[offset as usize] };
    }
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn take_linear(input: &[f32], size: Size, plan: &Plan, fill: f32, out: &mut [f32]) {
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
        let o = offset as usize;
        // Along x, then y, then z. Where all eight agree, so does the result.
        let mix = |a: f32, b: f32, t: f32| a + t * (b - a);
        let line = |o: usize| mix(input[o], input[o + x], fx);
        let plane = |o: usize| mix(line(o), line(o + y), fy);
        *out = mix(plane(o), plane(o + z), fz);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn take_cubic(input: &[f32], padded: Size, plan: &Plan, fill: f32, out: &mut [f32]) {
    let [_, height, width] = padded;
    let fractions = plan.z.iter().zip(&plan.y).zip(&plan.x);
    for ((out, &offset), ((&fz, &fy), &fx)) in out.iter_mut().zip(&plan.offsets).zip(fractions) {
        if offset == OUTSIDE {
            *out = fill;
            continue;
        }
        let (wz, wy, wx) = (cubic(fz), cubic(fy), cubic(fx));
        let mut sum = [0f32; 4];
        for (z, &wz) in wz.iter().enumerate() {
            for (y, &wy) in wy.iter().enumerate() {
                let o = offset as usize + (z * height + y) * width;
                let line = &input[o..o + 4];
                let weight = wz * wy;
                for x in 0..4 {
                    sum[x] += weight * line[x];
                }
            }
        }
        *out = (sum[0] * wx[0] + sum[1] * wx[1]) + (sum[2] * wx[2] + sum[3] * wx[3]);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn take_quadratic(input: &[f32], padded: Size, plan: &Plan, fill: f32, out: &mut [f32]) {
    let [_, height, width] = padded;
    let fractions = plan.z.iter().zip(&plan.y).zip(&plan.x);
    for ((out, &offset), ((&fz, &fy), &fx)) in out.iter_mut().zip(&plan.offsets).zip(fractions) {
        if offset == OUTSIDE {
            *out = fill;
            continue;
        }
        let (wz, wy, wx) = (quadratic(fz), quadratic(fy), quadratic(fx));
        let mut sum = 0f32;
        for (z, &wz) in wz.iter().enumerate() {
            for (y, &wy) in wy.iter().enumerate() {
                let o = offset as usize + (z * height + y) * width;
                let line = &input[o..o + 3];
                sum += wz * wy * (line[0] * wx[0] + line[1] * wx[1] + line[2] * wx[2]);
            }
        }
        *out = sum;
    }
}

/// The value of what lies outside in a channel; asked for only if needed,
/// because a median costs as much as the interpolation.
pub type Fill<'a, T> = &'a mut dyn FnMut(usize) -> T;

/// Walks over the rows of `size`, with the confined sources of each; `visit`
/// learns whether any of them is outside.
fn rows(size: Size, border: Border, map: &mut dyn Map, mut visit: impl FnMut(usize, &Row, bool)) {
    let [depth, height, width] = size;
    assert!(size.iter().product::<usize>() < 1 << 31, "a patch has less than 2^31 voxels");
    let mut row = Row::new(width);
    for z in 0..depth {
        for y in 0..height {
            map.row(z, y, &mut row);
            let outside = confine(&mut row, size, border);
            visit((z * height + y) * width, &row, outside);
        }
    }
}

/// The fill values of the channels, computed when first asked for.
struct Fills<'a, T> {
    compute: Fill<'a, T>,
    known: Vec<Option<T>>,
}

impl<T: Copy> Fills<'_, T> {
    fn get(&mut self, channel: usize) -> T {
        *self.known[channel].get_or_insert_with(|| (self.compute)(channel))
    }
}

/// Takes the nearest voxel; halves go up. `input` and `output` are (C, D, H, W)
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
    let mut fills = Fills { compute: fill, known: vec![None; input.len() / voxels] };
    let mut plan = Plan::new(size[2]);
    rows(size, border, map, |start, row, outside| {
        plan_nearest(row, size, &mut plan);
        for channel in 0..input.len() / voxels {
            let fill = if outside { fills.get(channel) } else { any };
            let first = channel * voxels;
            let out = &mut output[first + start..][..size[2]];
            take_nearest(&input[first..first + voxels], &plan, fill, out);
        }
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
    let mut fills = Fills { compute: fill, known: vec![None; channels] };
    let mut plan = Plan::new(size[2]);
    rows(size, border, map, |start, row, outside| {
        plan_linear(row, size, &mut plan);
        for channel in 0..channels {
            let fill = if outside { fills.get(channel) } else { 0.0 };
            let first = channel * voxels;
            let out = &mut output[first + start..][..size[2]];
            take_linear(&input[first..first + voxels], size, &plan, fill, out);
        }
    });
}

/// Spline interpolation of order 2 or 3 of one channel, `size` = (D, H, W).
pub fn spline(
    coefficients: &[Coefficients],
    size: Size,
    order: usize,
    border: Border,
    map: &mut dyn Map,
    fill: Fill<'_, f32>,
    output: &mut [f32],
) {
    let Some(first) = coefficients.first() else { return };
    let padded = first.size;
    let voxels: usize = size.iter().product();
    let mut fills = Fills { compute: fill, known: vec![None; coefficients.len()] };
    let mut plan = Plan::new(size[2]);
    rows(size, border, map, |start, row, outside| {
        plan_spline(row, padded, order, &mut plan);
        for (channel, coefficients) in coefficients.iter().enumerate() {
            let fill = if outside { fills.get(channel) } else { 0.0 };
            let out = &mut output[channel * voxels + start..][..size[2]];
            match order {
                2 => take_quadratic(&coefficients.values, padded, &plan, fill, out),
                _ => take_cubic(&coefficients.values, padded, &plan, fill, out),
            }
        }
    });
}
