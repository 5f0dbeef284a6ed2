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

/// The points that have a value of their own on each axis: lower bound included,
/// upper excluded.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    low: [f64; 3],
    high: [f64; 3],
}

impl Border {
    fn bounds(self, size: Size) -> Bounds {
        let last = size.map(|n| n as f64 - 1.0);
        match self {
            Border::Reflect => Bounds { low: [f64::NEG_INFINITY; 3], high: [f64::INFINITY; 3] },
            Border::Constant => Bounds { low: [0.0; 3], high: last.map(f64::next_up) },
            Border::Itk => Bounds { low: [-0.5; 3], high: last.map(|last| last + 0.5) },
        }
    }
}

/// Moves the points beyond the border to their mirror images inside.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn fold(row: &mut Row, size: Size) {
    for (line, n) in [&mut row.z, &mut row.y, &mut row.x].into_iter().zip(size) {
        let last = n as f64 - 1.0;
        let inside = line.iter().fold(true, |all, &c| all & (c >= 0.0) & (c <= last));
        if !inside {
            for c in line.iter_mut().filter(|c| !(**c >= 0.0 && **c <= last)) {
                *c = reflect(*c, n as f64);
            }
        }
    }
}

/// `value` between 0 and `high`; written so that it is two instructions.
#[inline(always)]
fn clip(value: f64, high: f64) -> f64 {
    let value = if value > 0.0 { value } else { 0.0 };
    if value < high { value } else { high }
}

/// A whole number in 0..2^32 as an integer. Adding 2^52 leaves it in the low bits;
/// a cast would do the same, one value at a time.
#[inline(always)]
fn whole(value: f64) -> u32 {
    (value + 4_503_599_627_370_496.0).to_bits() as u32
}

/// Makes a plan of a row: `split` gives the index and the fraction on an axis, of
/// which it is also told the largest index. Returns whether any point is outside.
#[inline(always)]
fn plan(
    row: &Row,
    bounds: Bounds,
    size: Size,
    taps: usize,
    plan: &mut Plan,
    split: impl Fn(f64, f64) -> (f64, f64),
) -> bool {
    let [_, height, width] = size.map(|n| n as f64);
    let last = size.map(|n| n.saturating_sub(taps) as f64);
    let Bounds { low, high } = bounds;
    let points = row.z.iter().zip(&row.y).zip(&row.x);
    let fractions = plan.z.iter_mut().zip(&mut plan.y).zip(&mut plan.x);
    let mut outside = false;
    for ((((&z, &y), &x), offset), ((fz, fy), fx)) in points.zip(&mut plan.offsets).zip(fractions) {
        let inside = (z >= low[0])
            & (z < high[0])
            & (y >= low[1])
            & (y < high[1])
            & (x >= low[2])
            & (x < high[2]);
        let ((iz, tz), (iy, ty), (ix, tx)) =
            (split(z, last[0]), split(y, last[1]), split(x, last[2]));
        let at = whole((iz * height + iy) * width + ix);
        *offset = if inside { at } else { OUTSIDE };
        (*fz, *fy, *fx) = (tz as f32, ty as f32, tx as f32);
        outside |= !inside;
    }
    outside
}

/// The offset of each point's nearest voxel; halves go up, in scipy and in ITK.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn plan_nearest(row: &Row, bounds: Bounds, size: Size, to: &mut Plan) -> bool {
    plan(row, bounds, size, 1, to, |c, last| (clip((c + 0.5).floor(), last), 0.0))
}

/// The offset of the lowest of the eight voxels around each point. On an axis of
/// one voxel that is the only one, with fraction 0.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn plan_linear(row: &Row, bounds: Bounds, size: Size, to: &mut Plan) -> bool {
    plan(row, bounds, size, 2, to, |c, last| {
        let index = clip(c.floor(), last);
        // Beyond the outer voxels their values go on.
        let fraction = clip(c - index, 1.0);
        (index, fraction)
    })
}

/// The offset of the lowest of the `order + 1` coefficients per axis around each
/// point, in the padded volume.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn plan_spline(row: &Row, bounds: Bounds, padded: Size, order: usize, to: &mut Plan) -> bool {
    let nudge = if order == 2 { 0.5 } else { 0.0 };
    plan(row, bounds, padded, order + 1, to, |c, last| {
        let knot = (c + nudge).floor();
        (clip(knot + (PAD as f64 - 1.0), last), c - knot)
    })
}

fn take_nearest<T: Copy>(input: &[T], plan: &Plan, fill: T, out: &mut [T]) {
    for (out, &offset) in out.iter_mut().zip(&plan.offsets) {
        *out = if offset == OUTSIDE { fill } else { input[offset as usize] };
    }
}

#[inline(always)]
fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + t * (b - a)
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
        // Along x, then y, then z. Where all eight agree, so does the result.
        let mut lines = [0f32; 4];
        for (line, start) in lines.iter_mut().zip([0, y, z, z + y]) {
            let pair = &input[offset as usize + start..][..x + 1];
            *line = mix(pair[0], pair[x], fx);
        }
        *out = mix(mix(lines[0], lines[1], fy), mix(lines[2], lines[3], fy), fz);
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
            let mut plane = [0f32; 4];
            for (y, &wy) in wy.iter().enumerate() {
                let o = offset as usize + (z * height + y) * width;
                let line = &input[o..o + 4];
                for x in 0..4 {
                    plane[x] += wy * line[x];
                }
            }
            for x in 0..4 {
                sum[x] += wz * plane[x];
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

/// Walks over the rows of `size`: `visit` learns the offset of each and where it
/// is taken from.
fn rows(size: Size, border: Border, map: &mut dyn Map, mut visit: impl FnMut(usize, &Row)) {
    let [depth, height, width] = size;
    assert!(size.iter().product::<usize>() < 1 << 31, "a patch has less than 2^31 voxels");
    let mut row = Row::new(width);
    for z in 0..depth {
        for y in 0..height {
            map.row(z, y, &mut row);
            if border == Border::Reflect {
                fold(&mut row, size);
            }
            visit((z * height + y) * width, &row);
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
    let bounds = border.bounds(size);
    rows(size, border, map, |start, row| {
        let outside = plan_nearest(row, bounds, size, &mut plan);
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
    let bounds = border.bounds(size);
    rows(size, border, map, |start, row| {
        let outside = plan_linear(row, bounds, size, &mut plan);
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
    let bounds = border.bounds(size);
    rows(size, border, map, |start, row| {
        let outside = plan_spline(row, bounds, padded, order, &mut plan);
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
