//! The nearest of many voxels, in a grid of cells.

use std::collections::HashMap;

/// Voxels of a volume, sorted into cells of about the same extent along all axes.
///
/// Surfaces are thin and mostly close to one another, so that looking into a few cells
/// around a voxel is far less work than a distance transform of the whole volume; and with
/// two bytes a voxel, those of volumes that do not fit into memory do.
pub struct VoxelGrid {
    shape: GridShape,
    /// Places within their cells, cell by cell; ascending within a cell.
    places: Vec<u16>,
    /// The first and the last cell along each axis that holds a voxel.
    least: [usize; 3],
    most: [usize; 3],
    /// Where the places of each cell from `least` to `most` begin.
    starts: Vec<usize>,
}

/// How a volume is cut into cells.
#[derive(Clone, Copy, Debug)]
struct GridShape {
    /// Cells along each axis, and voxels of a cell along each.
    cells: [usize; 3],
    voxels: [usize; 3],
    spacing: [f64; 3],
    /// The least extent of a cell, in the unit of the spacing.
    extent: f64,
}

/// Voxels of a cell along the axis of the finest spacing, the most there are.
const CELL: usize = 8;

impl GridShape {
    fn new(size: [usize; 3], spacing: [f64; 3]) -> GridShape {
        let finest = spacing.iter().copied().fold(f64::INFINITY, f64::min);
        let voxels =
            spacing.map(|spacing| ((CELL as f64 * finest / spacing).round() as usize).max(1));
        let cells: [usize; 3] = std::array::from_fn(|axis| size[axis].div_ceil(voxels[axis]));
        let extent = (0..3)
            .filter(|&axis| cells[axis] > 1)
            .map(|axis| voxels[axis] as f64 * spacing[axis])
            .fold(f64::INFINITY, f64::min);
        GridShape { cells, voxels, spacing, extent }
    }

    fn cell(&self, place: [usize; 3]) -> [usize; 3] {
        std::array::from_fn(|axis| place[axis] / self.voxels[axis])
    }

    /// A voxel's place within its cell.
    fn within(&self, place: [usize; 3]) -> u16 {
        let [z, y, x] = std::array::from_fn(|axis| place[axis] % self.voxels[axis]);
        ((z * CELL + y) * CELL + x) as u16
    }

    /// The voxel at a place within a cell.
    fn voxel(&self, cell: [usize; 3], within: u16) -> [usize; 3] {
        let within = usize::from(within);
        let place = [within / (CELL * CELL), within / CELL % CELL, within % CELL];
        std::array::from_fn(|axis| cell[axis] * self.voxels[axis] + place[axis])
    }
}

/// Collects the voxels of a [`VoxelGrid`] in the order of their slices.
pub struct VoxelGridBuilder {
    shape: GridShape,
    places: Vec<u16>,
    /// Cells with voxels, in the order of `places`, and how many each has.
    cells: Vec<([usize; 3], usize)>,
    /// The layer of cells that is being filled, and its voxels: cell and place within it.
    layer: usize,
    waiting: Vec<u64>,
}

impl VoxelGridBuilder {
    /// Begins the grid of a volume of a size (z, y, x).
    pub fn new(size: [usize; 3], spacing: [f64; 3]) -> VoxelGridBuilder {
        let shape = GridShape::new(size, spacing);
        let (places, cells, waiting) = (Vec::new(), Vec::new(), Vec::new());
        VoxelGridBuilder { shape, places, cells, layer: 0, waiting }
    }

    /// Adds a voxel (z, y, x), whose slice does not come before those of others.
    pub fn add(&mut self, place: [usize; 3]) {
        let [z, y, x] = self.shape.cell(place);
        if z != self.layer {
            self.end_layer();
            self.layer = z;
        }
        let cell = (y * self.shape.cells[2] + x) as u64;
        self.waiting.push(cell << 16 | u64::from(self.shape.within(place)));
    }

    fn end_layer(&mut self) {
        self.waiting.sort_unstable();
        let width = self.shape.cells[2];
        for group in self.waiting.chunk_by(|a, b| a >> 16 == b >> 16) {
            let cell = (group[0] >> 16) as usize;
            self.cells.push(([self.layer, cell / width, cell % width], group.len()));
            self.places.extend(group.iter().map(|voxel| *voxel as u16));
        }
        self.waiting.clear();
    }

    /// The grid of the voxels that were added; `None` without any.
    pub fn finish(mut self) -> Option<VoxelGrid> {
        self.end_layer();
        let (first, _) = self.cells.first()?;
        let (mut least, mut most) = (*first, *first);
        for (cell, _) in &self.cells {
            for axis in 0..3 {
                least[axis] = least[axis].min(cell[axis]);
                most[axis] = most[axis].max(cell[axis]);
            }
        }
        let cells: usize = (0..3).map(|axis| most[axis] + 1 - least[axis]).product();
        let VoxelGridBuilder { shape, places, .. } = self;
        let mut grid = VoxelGrid { shape, places, least, most, starts: vec![0; cells + 1] };
        for (cell, voxels) in self.cells {
            let index = grid.index(cell);
            grid.starts[index + 1] = voxels;
        }
        for cell in 1..grid.starts.len() {
            grid.starts[cell] += grid.starts[cell - 1];
        }
        Some(grid)
    }
}

impl VoxelGrid {
    fn index(&self, cell: [usize; 3]) -> usize {
        let [z, y, x] = std::array::from_fn(|axis| cell[axis] - self.least[axis]);
        let [height, width] = [1, 2].map(|axis| self.most[axis] + 1 - self.least[axis]);
        (z * height + y) * width + x
    }

    fn places(&self, cell: [usize; 3]) -> &[u16] {
        let index = self.index(cell);
        &self.places[self.starts[index]..self.starts[index + 1]]
    }

    /// How many voxels it holds.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    fn holds(&self, cell: [usize; 3]) -> bool {
        (0..3).all(|axis| (self.least[axis]..=self.most[axis]).contains(&cell[axis]))
    }

    /// The square of the distance from a voxel (z, y, x) to the nearest of the grid.
    pub fn nearest(&self, place: [usize; 3]) -> f64 {
        let home = self.shape.cell(place);
        if self.holds(home) && self.places(home).binary_search(&self.shape.within(place)).is_ok() {
            return 0.0;
        }
        let mut best = f64::INFINITY;
        let away = |axis: usize| {
            let (least, most) = (self.least[axis], self.most[axis]);
            let before = least.saturating_sub(home[axis]);
            (
                before + home[axis].saturating_sub(most),
                home[axis].abs_diff(least).max(home[axis].abs_diff(most)),
            )
        };
        let nearest = (0..3).map(|axis| away(axis).0).max().unwrap_or(0);
        let farthest = (0..3).map(|axis| away(axis).1).max().unwrap_or(0);
        for ring in nearest..=farthest {
            // Between this voxel and a cell of the ring lie `ring − 1` whole cells.
            let least = ring.saturating_sub(1) as f64 * self.shape.extent;
            if ring > 1 && best <= least * least {
                break;
            }
            self.each_of_ring(home, ring, |cell| {
                for within in self.places(cell) {
                    let other = self.shape.voxel(cell, *within);
                    let square: f64 = (0..3)
                        .map(|axis| {
                            let apart = place[axis] as f64 - other[axis] as f64;
                            (apart * self.shape.spacing[axis]).powi(2)
                        })
                        .sum();
                    best = best.min(square);
                }
            });
        }
        best
    }

    /// How often each square of the distance from a voxel here to the nearest of another
    /// grid occurs, ascending.
    pub fn squares_to(&self, other: &VoxelGrid) -> Vec<(f64, u64)> {
        let mut counts: HashMap<u64, u64> = HashMap::new();
        let mut zeros = 0;
        let [z, y, x] = std::array::from_fn(|axis| self.least[axis]..=self.most[axis]);
        for z in z {
            for y in y.clone() {
                for x in x.clone() {
                    let cell = [z, y, x];
                    for within in self.places(cell) {
                        match other.nearest(self.shape.voxel(cell, *within)) {
                            0.0 => zeros += 1,
                            square => *counts.entry(square.to_bits()).or_default() += 1,
                        }
                    }
                }
            }
        }
        let mut sorted: Vec<(f64, u64)> =
            counts.into_iter().map(|(square, count)| (f64::from_bits(square), count)).collect();
        if zeros > 0 {
            sorted.push((0.0, zeros));
        }
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        sorted
    }

    /// Calls `each` with the cells that are so many steps away from one, along the axis
    /// of the most steps.
    fn each_of_ring(&self, home: [usize; 3], ring: usize, mut each: impl FnMut([usize; 3])) {
        let within = |axis: usize| {
            let last = (home[axis] + ring).min(self.most[axis]);
            home[axis].saturating_sub(ring).max(self.least[axis])..=last
        };
        let held = |x: usize| (self.least[2]..=self.most[2]).contains(&x);
        for z in within(0) {
            for y in within(1) {
                if z.abs_diff(home[0]) == ring || y.abs_diff(home[1]) == ring {
                    within(2).for_each(|x| each([z, y, x]));
                    continue;
                }
                if let Some(x) = home[2].checked_sub(ring).filter(|x| held(*x)) {
                    each([z, y, x]);
                }
                if ring > 0 && held(home[2] + ring) {
                    each([z, y, home[2] + ring]);
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
                let place =
                    |at: usize| [at / (size[1] * size[2]), at / size[2] % size[1], at % size[2]];
                let mut builder = VoxelGridBuilder::new(size, spacing);
                let places: Vec<usize> = (0..wanted.len()).filter(|&at| wanted[at]).collect();
                places.iter().for_each(|&at| builder.add(place(at)));
                let grid = builder.finish().unwrap();
                assert_eq!(grid.len(), places.len());
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
                    let found = grid.nearest(from).sqrt();
                    assert!(
                        (found - expected).abs() < 1e-9,
                        "{size:?} {from:?}: {found} {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn distances_to_another_grid_are_counted() {
        let grid = |places: &[[usize; 3]]| {
            let mut builder = VoxelGridBuilder::new([30, 4, 40], [1.0, 1.0, 0.5]);
            places.iter().for_each(|place| builder.add(*place));
            builder.finish()
        };
        assert!(grid(&[]).is_none());
        let here = grid(&[[0, 0, 0], [0, 0, 39], [29, 3, 39]]).unwrap();
        let there = grid(&[[0, 0, 2], [0, 0, 39]]).unwrap();
        assert_eq!(here.squares_to(&there), [(0.0, 1), (1.0, 1), (29.0 * 29.0 + 9.0, 1)]);
    }
}
