//! ITK's B-spline transform after an affine one.
//!
//! Displacements are tensor products of B-splines on a uniform mesh over a box
//! (`itk::BSplineTransform`). The affine part maps a row of the output to a straight line, so
//! within one cell of the mesh each displacement is a polynomial of degree 3·order in the
//! position along the row. A row is split where it crosses from one cell to the next; each piece
//! costs one small polynomial and a few multiplications per voxel.

use multiversion::multiversion;

use super::Size;
use super::map::{Affine, Map, Row};

/// Largest spline order.
pub const MAX_ORDER: usize = 3;
const TAPS: usize = MAX_ORDER + 1;
/// Coefficients of a polynomial of degree 3·[`MAX_ORDER`].
const TERMS: usize = 3 * MAX_ORDER + 1;

/// Margin in voxels by which ITK extends the box of the image on every side.
const MARGIN: f64 = 1.0 / 8.0;

/// Displacements by B-splines; the axes are z, y, x.
#[derive(Clone, Debug, PartialEq)]
pub struct BSpline {
    order: usize,
    /// Cells of the mesh per axis; 0 along z if nothing changes along it.
    mesh: [usize; 3],
    /// Lower corner of the domain and size of a cell, in voxels.
    origin: [f64; 3],
    cell: [f64; 3],
    /// Displacements in z, y and x, each indexed [z][y][x] with x fastest: `mesh + order` values
    /// along an axis with a mesh, one along an axis without.
    coefficients: [Vec<f64>; 3],
    /// The same values per control point, with the three displacements side by side.
    points: Vec<[f64; 4]>,
}

impl BSpline {
    /// A transform over the box of an image of `size`, as `BSplineTransformInitializer` makes it.
    /// `mesh` is the number of cells in (z, y, x); 0 along z means that the displacement does not
    /// change along z. `coefficients` are the displacements in z, y and x.
    pub fn over(size: Size, mesh: [usize; 3], order: usize, coefficients: [Vec<f64>; 3]) -> Self {
        assert!(order <= MAX_ORDER);
        assert!(mesh[1] > 0 && mesh[2] > 0, "only z can do without a mesh");
        let count: usize = counts(mesh, order).iter().product();
        assert!(coefficients.iter().all(|component| component.len() == count));
        let origin = [-0.5 - MARGIN; 3];
        let cell = std::array::from_fn(|axis| {
            (size[axis] as f64 + 2.0 * MARGIN) / mesh[axis].max(1) as f64
        });
        let points = (0..count)
            .map(|i| [coefficients[0][i], coefficients[1][i], coefficients[2][i], 0.0])
            .collect();
        BSpline { order, mesh, origin, cell, coefficients, points }
    }

    /// The displacements in z, y and x at the control points, x fastest.
    pub fn coefficients(&self) -> &[Vec<f64>; 3] {
        &self.coefficients
    }

    /// Position of a point in cells from the lower corner; 0 on an axis without
    /// a mesh.
    fn scaled(&self, axis: usize, point: f64, offset: bool) -> f64 {
        if self.mesh[axis] == 0 {
            return 0.0;
        }
        (point - if offset { self.origin[axis] } else { 0.0 }) / self.cell[axis]
    }

    /// The displacement at a point (z, y, x), computed from the definition; zero outside the
    /// domain.
    pub fn displacement(&self, point: [f64; 3]) -> [f64; 3] {
        let mut cell = [0usize; 3];
        let mut weights = [[0.0; TAPS]; 3];
        for axis in 0..3 {
            let position = self.scaled(axis, point[axis], true);
            let Some(inside) = self.cell_of(axis, position) else { return [0.0; 3] };
            cell[axis] = inside;
            let polynomials = self.basis(axis);
            let t = position - inside as f64;
            for (weight, polynomial) in weights[axis].iter_mut().zip(&polynomials) {
                *weight = polynomial.iter().rev().fold(0.0, |sum, &c| sum * t + c);
            }
        }
        let count = counts(self.mesh, self.order);
        let taps = self.taps();
        std::array::from_fn(|component| {
            let mut sum = 0.0;
            for z in 0..taps[0] {
                for y in 0..taps[1] {
                    for x in 0..taps[2] {
                        let at = ((cell[0] + z) * count[1] + cell[1] + y) * count[2] + cell[2] + x;
                        sum += weights[0][z]
                            * weights[1][y]
                            * weights[2][x]
                            * self.coefficients[component][at];
                    }
                }
            }
            sum
        })
    }

    /// The cell that contains a position, its upper face included; `None` outside.
    fn cell_of(&self, axis: usize, position: f64) -> Option<usize> {
        let mesh = self.mesh[axis].max(1);
        (position >= 0.0 && position <= mesh as f64)
            .then(|| (position.floor() as usize).min(mesh - 1))
    }

    /// Number of coefficients per axis that affect a point.
    fn taps(&self) -> [usize; 3] {
        self.mesh.map(|cells| if cells == 0 { 1 } else { self.order + 1 })
    }

    /// The B-splines over one cell as polynomials in the position in the cell,
    /// lowest power first.
    fn basis(&self, axis: usize) -> [[f64; TAPS]; TAPS] {
        let order = if self.mesh[axis] == 0 { 0 } else { self.order };
        match order {
            0 => [[1.0, 0.0, 0.0, 0.0], [0.0; 4], [0.0; 4], [0.0; 4]],
            1 => [[1.0, -1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0; 4], [0.0; 4]],
            2 => [[0.5, -1.0, 0.5, 0.0], [0.5, 1.0, -1.0, 0.0], [0.0, 0.0, 0.5, 0.0], [0.0; 4]],
            _ => [
                [1.0 / 6.0, -0.5, 0.5, -1.0 / 6.0],
                [4.0 / 6.0, 0.0, -1.0, 0.5],
                [1.0 / 6.0, 0.5, 0.5, -0.5],
                [0.0, 0.0, 0.0, 1.0 / 6.0],
            ],
        }
    }
}

/// Coefficients along each axis.
pub fn counts(mesh: [usize; 3], order: usize) -> [usize; 3] {
    mesh.map(|cells| if cells == 0 { 1 } else { cells + order })
}

/// An affine map followed by a B-spline transform: q = spline(M p + t).
#[derive(Clone, Debug, PartialEq)]
pub struct Deformation {
    pub affine: Affine,
    pub bend: Option<BSpline>,
}

impl Map for &Deformation {
    fn row(&mut self, z: usize, y: usize, row: &mut Row) {
        self.affine.clone().row(z, y, row);
        if let Some(bend) = &self.bend {
            let (first, step) = self.affine.line(z, y);
            bend.displace(first, step, row);
        }
    }
}

/// For each component, a polynomial in the relative position within a piece of a row.
type Polynomials = [[f64; TERMS]; 3];

impl BSpline {
    /// Adds the displacements to a row of points first + i·step.
    fn displace(&self, first: [f64; 3], step: [f64; 3], row: &mut Row) {
        let width = row.len();
        let start: [f64; 3] = std::array::from_fn(|axis| self.scaled(axis, first[axis], true));
        let slope: [f64; 3] = std::array::from_fn(|axis| self.scaled(axis, step[axis], false));
        // Positions at which the row crosses from one cell to the next.
        let mut cuts = vec![0, width];
        for axis in 0..3 {
            if slope[axis] == 0.0 {
                continue;
            }
            for face in 0..=self.mesh[axis].max(1) {
                let at = ((face as f64 - start[axis]) / slope[axis]).ceil();
                if at > 0.0 && at < width as f64 {
                    cuts.push(at as usize);
                }
            }
        }
        cuts.sort_unstable();
        for piece in cuts.windows(2) {
            let (begin, end) = (piece[0], piece[1]);
            if begin == end {
                continue;
            }
            // The middle of the piece is in the cell, even if rounding moves its ends outside.
            let middle = 0.5 * (begin + end - 1) as f64;
            let mut cell = [0; 3];
            let inside =
                (0..3).all(|axis| match self.cell_of(axis, start[axis] + slope[axis] * middle) {
                    Some(found) => {
                        cell[axis] = found;
                        true
                    }
                    None => false,
                });
            if inside {
                let length = (end - begin) as f64;
                let from = std::array::from_fn(|axis| {
                    start[axis] + slope[axis] * begin as f64 - cell[axis] as f64
                });
                let over = slope.map(|slope| slope * length);
                let polynomials = self.along(cell, from, over);
                let lines =
                    [&mut row.z[begin..end], &mut row.y[begin..end], &mut row.x[begin..end]];
                horner(&polynomials, self.order, 1.0 / length, lines);
            }
        }
    }

    /// The displacements along a line within a cell, from the position `from` in the cell to
    /// `from + over`, as polynomials of the relative position on the line.
    fn along(&self, cell: [usize; 3], from: [f64; 3], over: [f64; 3]) -> Polynomials {
        // The B-splines as polynomials of the relative position on the line.
        let mut lines: Lines = [self.basis(0), self.basis(1), self.basis(2)];
        for (axis, polynomials) in lines.iter_mut().enumerate() {
            for polynomial in polynomials {
                *polynomial = substitute(*polynomial, from[axis], over[axis]);
            }
        }
        let [_, height, width] = counts(self.mesh, self.order);
        let first = (cell[0] * height + cell[1]) * width + cell[2];
        let points = Points { values: &self.points[first..], height, width };
        match (self.order, self.mesh[0] > 0) {
            (0, false) => contract::<1, 1>(&points, &lines),
            (0, true) => contract::<1, 1>(&points, &lines),
            (1, false) => contract::<2, 1>(&points, &lines),
            (1, true) => contract::<2, 2>(&points, &lines),
            (2, false) => contract::<3, 1>(&points, &lines),
            (2, true) => contract::<3, 3>(&points, &lines),
            (_, false) => contract::<4, 1>(&points, &lines),
            (_, true) => contract::<4, 4>(&points, &lines),
        }
    }
}

/// B-splines as polynomials: [axis][tap][power].
type Lines = [[[f64; TAPS]; TAPS]; 3];

/// Control points, from the first that affects the point.
struct Points<'a> {
    values: &'a [[f64; 4]],
    height: usize,
    width: usize,
}

/// Sums coefficients times B-splines over `T` taps along x and y and `Z` along z: products of
/// polynomials, for the three displacements side by side. It works on four numbers at a time,
/// because a load of eight numbers must wait for two preceding stores of four.
#[multiversion(targets("x86_64+avx2"))]
fn contract<const T: usize, const Z: usize>(points: &Points<'_>, lines: &Lines) -> Polynomials {
    #[inline(always)]
    fn add(sum: &mut [f64; 4], weight: f64, value: &[f64; 4]) {
        for l in 0..4 {
            sum[l] += weight * value[l];
        }
    }
    let mut result = [[0.0; 4]; TERMS];
    for z in 0..Z {
        let mut plane = [[0.0; 4]; 2 * TAPS - 1];
        for y in 0..T {
            let start = (z * points.height + y) * points.width;
            let taps = &points.values[start..start + T];
            let mut line = [[0.0; 4]; TAPS];
            for x in 0..T {
                for power in 0..T {
                    add(&mut line[power], lines[2][x][power], &taps[x]);
                }
            }
            for a in 0..T {
                for b in 0..T {
                    add(&mut plane[a + b], lines[1][y][a], &line[b]);
                }
            }
        }
        for a in 0..Z {
            for b in 0..2 * T - 1 {
                add(&mut result[a + b], lines[0][z][a], &plane[b]);
            }
        }
    }
    let mut polynomials = [[0.0; TERMS]; 3];
    for (power, term) in result.iter().enumerate() {
        for component in 0..3 {
            polynomials[component][power] = term[component];
        }
    }
    polynomials
}

/// The polynomial p(from + over·s) in s.
fn substitute(p: [f64; TAPS], from: f64, over: f64) -> [f64; TAPS] {
    let [a, b, c, d] = p;
    [
        a + from * (b + from * (c + from * d)),
        over * (b + from * (2.0 * c + from * 3.0 * d)),
        over * over * (c + 3.0 * from * d),
        over * over * over * d,
    ]
}

/// Adds the polynomials to a piece of a row, at the relative positions 0, `step`, 2·`step`…
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
fn horner(polynomials: &Polynomials, order: usize, step: f64, lines: [&mut [f64]; 3]) {
    #[inline(always)]
    fn run<const DEGREE: usize>(polynomial: &[f64; TERMS], step: f64, line: &mut [f64]) {
        for (value, i) in line.iter_mut().zip(0i32..) {
            let s = f64::from(i) * step;
            let mut sum = polynomial[DEGREE];
            for power in (0..DEGREE).rev() {
                sum = sum * s + polynomial[power];
            }
            *value += sum;
        }
    }
    for (line, polynomial) in lines.into_iter().zip(polynomials) {
        match order {
            0 => run::<0>(polynomial, step, line),
            1 => run::<3>(polynomial, step, line),
            2 => run::<6>(polynomial, step, line),
            _ => run::<9>(polynomial, step, line),
        }
    }
}
