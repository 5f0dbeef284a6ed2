//! The nearest of many voxels, in a grid of cells.

/// Voxels of a box, sorted into cells of about the same extent along all axes.
///
/// Surfaces are thin and mostly close to one another, so that looking into a few cells
/// around a voxel is far less work than a distance transform of the whole box.
pub struct VoxelGrid {
    /// Places (z, y, x), cell by cell.
    places: Vec<[u32; 3]>,
    /// Where the places of each cell begin.
    starts: Vec<u32>,
    /// Cells along each axis, and voxels of a cell along each.
    cells: [usize; 3],
    voxels: [usize; 3],
    spacing: [f64; 3],
    /// The least extent of a cell, in the unit of the spacing.
    extent: f64,
}

/// Voxels of a cell along the axis of the finest spacing.
const CELL: f64 = 8.0;

impl VoxelGrid {
    /// Sorts the voxels of a box (D, H, W) that are true.
    pub fn new(wanted: &[bool], size: [usize; 3], spacing: [f64; 3]) -> VoxelGrid {
        let [_, height, width] = size;
        let finest = spacing.iter().copied().fold(f64::INFINITY, f64::min);
        let voxels = spacing.map(|spacing| ((CELL * finest / spacing).round() as usize).max(1));
        let cells: [usize; 3] = std::array::from_fn(|axis| size[axis].div_ceil(voxels[axis]));
        let extent = (0..3)
            .filter(|&axis| cells[axis] > 1)
            .map(|axis| voxels[axis] as f64 * spacing[axis])
            .fold(f64::INFINITY, f64::min);
        let mut grid =
            VoxelGrid { places: Vec::new(), starts: Vec::new(), cells, voxels, spacing, extent };
        let mut found: Vec<(u32, [u32; 3])> = Vec::new();
        for (row, values) in wanted.chunks_exact(width.max(1)).enumerate() {
            let (z, y) = (row / height, row % height);
            for (x, _) in values.iter().enumerate().filter(|(_, wanted)| **wanted) {
                let cell = grid.index(grid.cell([z, y, x]));
                found.push((cell as u32, [z as u32, y as u32, x as u32]));
            }
        }
        grid.starts = vec![0; cells.iter().product::<usize>() + 1];
        for (cell, _) in &found {
            grid.starts[*cell as usize + 1] += 1;
        }
        for cell in 1..grid.starts.len() {
            grid.starts[cell] += grid.starts[cell - 1];
        }
        let mut next = grid.starts.clone();
        grid.places = vec![[0; 3]; found.len()];
        for (cell, place) in found {
            let at = &mut next[cell as usize];
            grid.places[*at as usize] = place;
            *at += 1;
        }
        grid
    }

    fn cell(&self, place: [usize; 3]) -> [usize; 3] {
        std::array::from_fn(|axis| place[axis] / self.voxels[axis])
    }

    fn index(&self, [z, y, x]: [usize; 3]) -> usize {
        (z * self.cells[1] + y) * self.cells[2] + x
    }

    /// The distance from a voxel (z, y, x) to the nearest of the grid; infinite if it is
    /// empty.
    pub fn nearest(&self, place: [usize; 3]) -> f64 {
        let home = self.cell(place);
        let mut best = f64::INFINITY;
        let rings = (0..3).map(|axis| home[axis].max(self.cells[axis] - 1 - home[axis])).max();
        for ring in 0..=rings.unwrap_or(0) {
            // Between this voxel and a cell of the ring lie `ring − 1` whole cells.
            let least = ring.saturating_sub(1) as f64 * self.extent;
            if ring > 1 && best <= least * least {
                break;
            }
            self.each_of_ring(home, ring, |cell| {
                let range = self.starts[cell] as usize..self.starts[cell + 1] as usize;
                for other in &self.places[range] {
                    let square: f64 = (0..3)
                        .map(|axis| {
                            let apart = place[axis] as f64 - f64::from(other[axis]);
                            (apart * self.spacing[axis]).powi(2)
                        })
                        .sum();
                    best = best.min(square);
                }
            });
        }
        best.sqrt()
    }

    /// Calls `each` with the cells that are so many steps away from one, along the axis
    /// of the most steps.
    fn each_of_ring(&self, home: [usize; 3], ring: usize, mut each: impl FnMut(usize)) {
        let within = |axis: usize| {
            let last = (home[axis] + ring).min(self.cells[axis] - 1);
            home[axis].saturating_sub(ring)..=last
        };
        for z in within(0) {
            for y in within(1) {
                if z.abs_diff(home[0]) == ring || y.abs_diff(home[1]) == ring {
                    within(2).for_each(|x| each(self.index([z, y, x])));
                    continue;
                }
                if let Some(x) = home[2].checked_sub(ring) {
                    each(self.index([z, y, x]));
                }
                if ring > 0 && home[2] + ring < self.cells[2] {
                    each(self.index([z, y, home[2] + ring]));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_that_of_all() {
        let mut state = 11u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as usize
        };
        for (size, spacing) in [
            ([21, 34, 40], [1.0; 3]),
            ([9, 50, 33], [4.0, 0.5, 0.7]),
            ([1, 30, 90], [1.0, 2.0, 0.3]),
        ] {
            for among in [3, 40, 2000] {
                let mut wanted = vec![false; size.iter().product()];
                for at in (0..wanted.len()).step_by(7) {
                    wanted[at] = random() % among == 0;
                }
                wanted[5] = true;
                let grid = VoxelGrid::new(&wanted, size, spacing);
                let place =
                    |at: usize| [at / (size[1] * size[2]), at / size[2] % size[1], at % size[2]];
                for at in (0..wanted.len()).step_by(211) {
                    let from = place(at);
                    let expected = (0..wanted.len())
                        .filter(|&other| wanted[other])
                        .map(|other| {
                            let to = place(other);
                            (0..3)
                                .map(|i| (from[i].abs_diff(to[i]) as f64 * spacing[i]).powi(2))
                                .sum::<f64>()
                        })
                        .fold(f64::INFINITY, f64::min)
                        .sqrt();
                    let found = grid.nearest(from);
                    assert!(
                        (found - expected).abs() < 1e-9,
                        "{size:?} {from:?}: {found} {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_empty_grid_is_infinitely_far() {
        assert!(VoxelGrid::new(&[false; 8], [2, 2, 2], [1.0; 3]).nearest([0, 1, 1]).is_infinite());
    }
}
