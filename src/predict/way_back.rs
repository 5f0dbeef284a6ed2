//! Results with the voxels of their input, where the network got voxels of another size:
//! probabilities are interpolated linearly, regions keep the number of the nearest voxel.

use anyhow::Result;
use ndarray::{Array2, Array4, ArrayView4, Axis, concatenate, s};
use tch::Tensor;

use super::output::view;
use crate::resample::grid::{Grid, Interpolation, Places, linear};
use crate::stitch::FinishedBlock;

/// Interpolates the boxes of a result as they come: all rows of some planes, then
/// those of the next planes. Beside a box, the last row of the box before and the last
/// plane of the planes before are held.
pub struct WayBack {
    /// From the voxels of the network to those of the file, along z, y, x.
    grids: [Grid; 3],
    interpolation: Interpolation,
    /// The first plane of the result that was not made before the planes that come, and
    /// the first row of those.
    next: [usize; 2],
    /// The last plane before those that come, (C, 1, H, W) with rows and columns of the
    /// result.
    plane: Option<Array4<f32>>,
    /// The same of the planes that come, of which rows are missing yet.
    next_plane: Option<Array4<f32>>,
    /// The last row before those that come, (C, d, 1, W) with columns of the result.
    row: Option<Array4<f32>>,
}

impl WayBack {
    /// `grids` lead from the voxels of the file to those of the network.
    pub fn new(grids: [Grid; 3], interpolation: Interpolation) -> Self {
        WayBack {
            grids: grids.map(Grid::back),
            interpolation,
            next: [0; 2],
            plane: None,
            next_plane: None,
            row: None,
        }
    }

    /// Size (z, y, x) of the result.
    pub fn size(&self) -> [usize; 3] {
        self.grids.map(Grid::len)
    }

    /// A projection along z (H, W) with the voxels of the file.
    pub fn projection(&self, projection: Array2<f32>) -> Array2<f32> {
        let [_, height, width] = self.size();
        let [y, x] = [(1, height), (2, width)].map(|(axis, n)| self.grids[axis].linear(0..n));
        let one = Places::all(1);
        let plane = projection.insert_axis(Axis(0)).insert_axis(Axis(0));
        linear(plane, [&one, &y, &x]).index_axis_move(Axis(0), 0).index_axis_move(Axis(0), 0)
    }

    /// Takes a box of the network's voxels; gives back the box of the file's voxels that
    /// it completes, if there is one.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn add(&mut self, block: &FinishedBlock) -> Result<Option<FinishedBlock>> {
        let values = block.values.f_contiguous()?;
        let made = self.add_values([block.z, block.y], view(&values)?);
        let Some(([z, y], made)) = made else { return Ok(None) };
        let shape: Vec<i64> = made.shape().iter().map(|n| *n as i64).collect();
        let made = made.as_standard_layout();
        let values = Tensor::from_slice(made.as_slice().unwrap_or_default()).f_reshape(shape)?;
        Ok(Some(FinishedBlock { z, y, values }))
    }

    fn add_values(
        &mut self,
        [z, y]: [usize; 2],
        values: ArrayView4<'_, f32>,
    ) -> Option<([usize; 2], Array4<f32>)> {
        let [z_grid, y_grid, x_grid] = self.grids;
        let (channels, depth, _, _) = values.dim();
        if y == 0 {
            // The planes before are complete.
            self.plane = self.next_plane.take().or(self.plane.take());
            self.next = [z_grid.ready(z), 0];
            self.row = None;
        }
        let columns = {
            let (depth, height) = (Places::all(depth), Places::all(values.dim().2));
            linear(
                values.to_owned(),
                [&depth, &height, &x_grid.places(0..x_grid.len(), self.interpolation)],
            )
        };
        // Rows: those that lie between rows that are there.
        let begin = y - usize::from(self.row.is_some());
        let rows = with_before(self.row.take(), columns, Axis(2));
        let end = begin + rows.dim().2;
        self.row = Some(rows.slice(s![.., .., -1.., ..]).to_owned());
        let made = self.next[1]..y_grid.ready(end);
        self.next[1] = made.end;
        if made.is_empty() {
            return None;
        }
        let first_row = made.start;
        let (all, places) =
            (Places::all(depth), y_grid.places(made.clone(), self.interpolation).from(begin));
        let rows = linear(rows, [&all, &places, &Places::all(x_grid.len())]);
        // Planes: the same, of these rows.
        let next = self
            .next_plane
            .get_or_insert_with(|| Array4::zeros((channels, 1, y_grid.len(), x_grid.len())));
        next.slice_mut(s![.., .., made.clone(), ..]).assign(&rows.slice(s![.., -1.., .., ..]));
        let before = self.plane.as_ref().map(|plane| plane.slice(s![.., .., made, ..]).to_owned());
        let begin = z - usize::from(before.is_some());
        let planes = with_before(before, rows, Axis(1));
        let made = self.next[0]..z_grid.ready(begin + planes.dim().1);
        if made.is_empty() {
            return None;
        }
        let first_plane = made.start;
        let places = z_grid.places(made, self.interpolation).from(begin);
        let (height, width) = (Places::all(planes.dim().2), Places::all(x_grid.len()));
        Some(([first_plane, first_row], linear(planes, [&places, &height, &width])))
    }
}

/// Puts what was held in front of what came.
fn with_before(before: Option<Array4<f32>>, came: Array4<f32>, axis: Axis) -> Array4<f32> {
    match before {
        // Both have the same lengths along the other axes.
        Some(before) => concatenate(axis, &[before.view(), came.view()]).unwrap_or(came),
        None => came,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However a result is cut into boxes, it is what interpolation of the whole makes.
    #[test]
    fn boxes_make_what_the_whole_makes() {
        for interpolation in [Interpolation::Linear, Interpolation::Nearest] {
            compare(interpolation);
        }
    }

    fn compare(interpolation: Interpolation) {
        let wave = |i: usize| (i as f32 * 12.9898).sin() * 43.0;
        for (own, wanted) in [
            ([1.0, 1.0, 1.0], [2.0, 1.0, 0.7]),
            ([0.5, 0.3, 0.4], [0.4, 0.3, 0.9]),
            ([0.2, 1.0, 1.3], [1.0, 0.31, 1.3]),
        ] {
            let size = [13, 11, 9];
            let grids: [Grid; 3] =
                std::array::from_fn(|axis| Grid::new(size[axis], own[axis], wanted[axis]));
            let [d, h, w] = grids.map(Grid::len);
            let values = Array4::from_shape_fn((2, d, h, w), |(c, z, y, x)| {
                wave(((c * d + z) * h + y) * w + x)
            });
            let back = grids.map(Grid::back);
            let places: [Places; 3] =
                std::array::from_fn(|axis| back[axis].places(0..size[axis], interpolation));
            let expected = linear(values.clone(), places.each_ref());
            for (deep, high) in [(1, 1), (2, 3), (d, h), (4, h), (3, 1)] {
                let mut way = WayBack::new(grids, interpolation);
                assert_eq!(way.size(), size);
                let mut found = Array4::from_elem((2, size[0], size[1], size[2]), f32::NAN);
                for z in (0..d).step_by(deep) {
                    for y in (0..h).step_by(high) {
                        let (z_end, y_end) = ((z + deep).min(d), (y + high).min(h));
                        let part = values.slice(s![.., z..z_end, y..y_end, ..]);
                        if let Some(([z, y], made)) = way.add_values([z, y], part) {
                            let (_, depth, height, _) = made.dim();
                            found.slice_mut(s![.., z..z + depth, y..y + height, ..]).assign(&made);
                        }
                    }
                }
                for (found, expected) in found.iter().zip(&expected) {
                    assert!((found - expected).abs() < 1e-3, "{own:?} {deep} {high}");
                }
            }
        }
    }
}
