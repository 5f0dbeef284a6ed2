//! The position of the points of a row in a volume: voxel offsets, fractions and weights,
//! computed once per row and used for all channels.

use multiversion::multiversion;

use super::Size;
use super::map::Row;
use super::spline::{Extension, cubic, pad};

/// The rule for points beyond the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Border {
    /// scipy's `reflect`: the volume is mirrored at the outer faces of its outer voxels.
    Reflect,
    /// scipy's `constant`: points beyond the centres of the outer voxels get the fill value.
    Constant,
    /// ITK: points outside [-0.5, n - 0.5) get the fill value; within half a voxel of the border
    /// the outer voxels are continued.
    Itk,
}

impl Border {
    /// The supported values of scipy's `mode`.
    pub const MODES: &[&str] = &["reflect", "constant"];

    /// The rule of one of [`Border::MODES`].
    pub fn of_mode(mode: &str) -> Self {
        if mode == "constant" { Border::Constant } else { Border::Reflect }
    }

    /// How a spline is extended beyond the border under this rule.
    pub fn extension(self) -> Extension {
        match self {
            Border::Reflect => Extension::Reflect,
            Border::Constant | Border::Itk => Extension::Mirror,
        }
    }

    fn bounds(self, size: Size) -> Bounds {
        let last = size.map(|n| n as f64 - 1.0);
        match self {
            Border::Reflect => Bounds { low: [f64::NEG_INFINITY; 3], high: [f64::INFINITY; 3] },
            Border::Constant => Bounds { low: [0.0; 3], high: last.map(f64::next_up) },
            Border::Itk => Bounds { low: [-0.5; 3], high: last.map(|last| last + 0.5) },
        }
    }
}

/// The range of coordinates within the volume on each axis: lower bound included, upper excluded.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    low: [f64; 3],
    high: [f64; 3],
}

/// Marks a point outside, instead of an offset into the volume.
pub const OUTSIDE: u32 = u32::MAX;

/// Where the points of a row lie.
#[derive(Clone, Debug, Default)]
pub struct RowPlan {
    /// Offset of the first voxel that is used, or [`OUTSIDE`].
    pub offsets: Vec<u32>,
    /// Distance of the point from that voxel on each axis.
    pub z: Vec<f32>,
    pub y: Vec<f32>,
    pub x: Vec<f32>,
    /// For cubic splines: the weights of the four taps along z and along y.
    pub weights_z: [Vec<f32>; 4],
    pub weights_y: [Vec<f32>; 4],
    /// Whether any point is outside.
    pub outside: bool,
}

impl RowPlan {
    pub fn new(width: usize) -> Self {
        RowPlan {
            offsets: vec![0; width],
            z: vec![0.0; width],
            y: vec![0.0; width],
            x: vec![0.0; width],
            ..RowPlan::default()
        }
    }

    /// For the nearest voxel; halves are rounded up, as by scipy and ITK.
    pub fn nearest(&mut self, row: &Row, border: Border, size: Size) {
        plan_nearest(row, border.bounds(size), size, self);
    }

    /// For the eight voxels around each point; an axis of one voxel uses that voxel only.
    pub fn linear(&mut self, row: &Row, border: Border, size: Size) {
        plan_linear(row, border.bounds(size), size, self);
    }

    /// For splines of order 2 or 3, with offsets into the padded coefficients.
    pub fn spline(&mut self, row: &Row, border: Border, size: Size, order: usize) {
        plan_spline(row, border.bounds(size), size, order, self);
        if order == 3 {
            plan_cubic(self);
        }
    }
}

/// Maps points beyond the border into (-1, n) like scipy: mirrored about -0.5 and n - 0.5, except
/// that points within a voxel beyond the last centre stay.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
pub fn fold(row: &mut Row, size: Size) {
    for (line, n) in [&mut row.z, &mut row.y, &mut row.x].into_iter().zip(size) {
        let n = n as f64;
        let inside = line.iter().fold(true, |all, &c| all & (c >= 0.0) & (c <= n - 1.0));
        if !inside {
            let (period, inverse) = (2.0 * n, 0.5 / n);
            for c in line.iter_mut() {
                let turned = *c - period * (*c * inverse).floor();
                *c = if turned < n { turned } else { period - 1.0 - turned };
            }
        }
    }
}

/// Clamps `value` to 0..`high`, in a form that compiles to two instructions.
#[inline(always)]
fn clip(value: f64, high: f64) -> f64 {
    let value = if value > 0.0 { value } else { 0.0 };
    if value < high { value } else { high }
}

/// Converts a whole number in 0..2^32 to an integer. Adding 2^52 leaves it in the low bits; a
/// cast does the same, but is not vectorised.
#[inline(always)]
fn whole(value: f64) -> u32 {
    (value + 4_503_599_627_370_496.0).to_bits() as u32
}

/// Computes the plan of a row. `split` returns the index and the fraction on an axis, given the
/// coordinate, the largest index and the axis.
#[inline(always)]
fn fill(
    row: &Row,
    bounds: Bounds,
    size: Size,
    taps: usize,
    plan: &mut RowPlan,
    split: impl Fn(f64, f64, usize) -> (f64, f64),
) {
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
        let (iz, tz) = split(z, last[0], 0);
        let (iy, ty) = split(y, last[1], 1);
        let (ix, tx) = split(x, last[2], 2);
        let at = whole((iz * height + iy) * width + ix);
        *offset = if inside { at } else { OUTSIDE };
        (*fz, *fy, *fx) = (tz as f32, ty as f32, tx as f32);
        outside |= !inside;
    }
    plan.outside = outside;
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn plan_nearest(row: &Row, bounds: Bounds, size: Size, plan: &mut RowPlan) {
    fill(row, bounds, size, 1, plan, |c, last, _| (clip((c + 0.5).floor(), last), 0.0));
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn plan_linear(row: &Row, bounds: Bounds, size: Size, plan: &mut RowPlan) {
    fill(row, bounds, size, 2, plan, |c, last, _| {
        let index = clip(c.floor(), last);
        // The values of the outer voxels are continued beyond them.
        (index, clip(c - index, 1.0))
    });
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn plan_spline(row: &Row, bounds: Bounds, size: Size, order: usize, plan: &mut RowPlan) {
    let nudge = if order == 2 { 0.5 } else { 0.0 };
    let pads = pad(size);
    let padded = std::array::from_fn(|axis| size[axis] + 2 * pads[axis]);
    let shift = pads.map(|pad| pad as f64 - 1.0);
    fill(row, bounds, padded, order + 1, plan, |c, last, axis| {
        let knot = (c + nudge).floor();
        (clip(knot + shift[axis], last), c - knot)
    });
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn plan_cubic(plan: &mut RowPlan) {
    #[inline(always)]
    fn weights(fractions: &[f32], weights: &mut [Vec<f32>; 4]) {
        for line in weights.iter_mut() {
            line.resize(fractions.len(), 0.0);
        }
        let [a, b, c, d] = weights;
        let lines = a.iter_mut().zip(b).zip(c).zip(d);
        for ((((a, b), c), d), &t) in lines.zip(fractions) {
            [*a, *b, *c, *d] = cubic(t);
        }
    }
    weights(&plan.z, &mut plan.weights_z);
    weights(&plan.y, &mut plan.weights_y);
}
