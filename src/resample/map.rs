//! Maps from voxels of the output to points of the input.

use multiversion::multiversion;

use super::Size;

/// The source of every voxel of one row (z, y) of the output: coordinates in voxels, with 0 at
/// the centre of the first voxel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    pub z: Vec<f64>,
    pub y: Vec<f64>,
    pub x: Vec<f64>,
}

impl Row {
    pub fn new(width: usize) -> Self {
        Row { z: vec![0.0; width], y: vec![0.0; width], x: vec![0.0; width] }
    }

    pub fn len(&self) -> usize {
        self.x.len()
    }

    pub fn is_empty(&self) -> bool {
        self.x.is_empty()
    }
}

/// A deformation, as a function from output to input.
pub trait Map {
    /// Fills `row` with the sources of the row (z, y). Rows are requested in order, but the
    /// result does not depend on it.
    fn row(&mut self, z: usize, y: usize, row: &mut Row);
}

/// q = M p + t, in (z, y, x).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    pub matrix: [[f64; 3]; 3],
    pub translation: [f64; 3],
}

impl Affine {
    pub const IDENTITY: Affine = Affine {
        matrix: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        translation: [0.0; 3],
    };

    /// The source of the first voxel of row (z, y), and the step to the next.
    pub fn line(&self, z: usize, y: usize) -> ([f64; 3], [f64; 3]) {
        let first = std::array::from_fn(|axis| {
            let row = self.matrix[axis];
            row[0] * z as f64 + row[1] * y as f64 + self.translation[axis]
        });
        (first, std::array::from_fn(|axis| self.matrix[axis][2]))
    }
}

impl Map for Affine {
    fn row(&mut self, z: usize, y: usize, row: &mut Row) {
        let (first, step) = self.line(z, y);
        for (axis, line) in [&mut row.z, &mut row.y, &mut row.x].into_iter().enumerate() {
            ramp(first[axis], step[axis], line);
        }
    }
}

/// first, first + step, first + 2·step…, each computed from its index, so that rounding errors do
/// not accumulate.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2", "x86_64+avx2"))]
pub(super) fn ramp(first: f64, step: f64, line: &mut [f64]) {
    // A 32-bit integer is converted to a float in one instruction on every machine.
    for (value, i) in line.iter_mut().zip(0i32..) {
        *value = first + step * f64::from(i);
    }
}

/// Explicit coordinates, three fields (D, H, W) for z, y and x, as
/// `scipy.ndimage.map_coordinates` takes them.
#[derive(Clone, Copy, Debug)]
pub struct Coordinates<'a> {
    pub fields: [&'a [f64]; 3],
    pub size: Size,
}

impl Map for Coordinates<'_> {
    fn row(&mut self, z: usize, y: usize, row: &mut Row) {
        let [_, height, width] = self.size;
        let start = (z * height + y) * width;
        for (line, field) in [&mut row.z, &mut row.y, &mut row.x].into_iter().zip(self.fields) {
            line.copy_from_slice(&field[start..start + width]);
        }
    }
}
