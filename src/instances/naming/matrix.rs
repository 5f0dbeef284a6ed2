//! The probability of every name for every region.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use crate::regions::Runs;
use crate::runtime::memory::{bytes, ensure_bytes};

/// How a region's voxels count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatrixPlan {
    /// Weight of a voxel at the edge of its region, next to 1 of the others; more
    /// than 1 counts as 1.
    pub edge_weight: f64,
    /// A voxel counts for a class in the list of contaminations if that class has its
    /// largest probability and the probability exceeds this.
    pub contamination_probability: f64,
    /// A region that is all edge of weight 0 has no probabilities (NaN), as in
    /// AutoCellLabeler; without this, they are the plain mean.
    pub original: bool,
}

impl Default for MatrixPlan {
    /// AutoCellLabeler's values.
    fn default() -> Self {
        MatrixPlan { edge_weight: 0.01, contamination_probability: 0.75, original: false }
    }
}

/// Names' probabilities for the regions of one image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NameMatrix {
    /// The ids that occur, ascending.
    pub ids: Vec<u32>,
    /// For each of them the probability of every class; they sum to 1.
    pub probabilities: Vec<Vec<f64>>,
    /// For each of them (class, voxels) of the classes that voxels are sure of, if
    /// there are two or more; class 0 is left out.
    pub contamination: Vec<Vec<(usize, u64)>>,
    /// Voxels of the ids from 1 on.
    pub sizes: Vec<u64>,
}

/// Collects a [`NameMatrix`] while the predictions are read class by class, slab by
/// slab. It holds a few bytes for each voxel that is in a region.
pub struct MatrixBuilder {
    plan: MatrixPlan,
    runs: Runs,
    /// For each run its index among the regions.
    regions: Vec<u32>,
    /// For each run its first voxel in the lists below, and after the last their end.
    first: Vec<usize>,
    /// Voxels in regions, in scan order: at the edge of their region or not.
    edge: Vec<bool>,
    /// Their largest probability so far, and its class.
    best: Vec<f32>,
    best_class: Vec<u16>,
    ids: Vec<u32>,
    /// For each region the sum of probabilities of each class over inner voxels and
    /// over edge voxels.
    sums: Vec<Vec<[f64; 2]>>,
    /// Voxels inside and at the edge.
    voxels: Vec<[u64; 2]>,
    strange: Strange,
}

/// Values within regions that are no probabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strange {
    pub nan: u64,
    /// Negative or above 1.
    pub outside: u64,
}

impl MatrixBuilder {
    /// Begins the matrix of a label image.
    ///
    /// # Errors
    /// More classes than voxels can remember.
    pub fn new(runs: Runs, classes: usize, plan: MatrixPlan) -> Result<MatrixBuilder> {
        ensure!(classes <= usize::from(u16::MAX), "{classes} classes");
        let mut ids: Vec<u32> = runs.all().iter().map(|run| run.label).collect();
        ids.sort_unstable();
        ids.dedup();
        ensure_bytes(
            bytes(&[ids.len(), classes], size_of::<[f64; 3]>()),
            || format!("the probabilities of {classes} names for {} regions", ids.len()),
            "are the regions those of one animal?",
        )?;
        let regions: Vec<u32> =
            runs.all().iter().map(|run| ids.partition_point(|id| *id < run.label) as u32).collect();
        let mut first = vec![0];
        for run in runs.all() {
            first.push(first[first.len() - 1] + run.voxels() as usize);
        }
        let edge = edges(&runs);
        let mut voxels = vec![[0; 2]; ids.len()];
        for (run, &region) in regions.iter().enumerate() {
            for &edge in &edge[first[run]..first[run + 1]] {
                voxels[region as usize][usize::from(edge)] += 1;
            }
        }
        Ok(MatrixBuilder {
            plan,
            best: vec![f32::NEG_INFINITY; edge.len()],
            best_class: vec![0; edge.len()],
            sums: vec![vec![[0.0; 2]; classes]; ids.len()],
            edge,
            runs,
            regions,
            first,
            ids,
            voxels,
            strange: Strange::default(),
        })
    }

    /// Adds the probabilities of a class in some rows of the volume, from row `z * H + y`
    /// on. Classes and rows may come in any order, each once; of equal probabilities the
    /// lower class wins. NaN counts as 0.
    pub fn add(&mut self, class: usize, first_row: usize, values: &[f32]) {
        let [_, _, width] = self.runs.size();
        let mut index = self.runs.runs_before(first_row);
        for (row, values) in (first_row..).zip(values.chunks_exact(width.max(1))) {
            for run in self.runs.row(row) {
                let sums = &mut self.sums[self.regions[index] as usize][class];
                let voxels = self.first[index]..self.first[index + 1];
                let values = &values[run.start as usize..run.end as usize];
                for (voxel, &value) in voxels.zip(values) {
                    if !(0.0..=1.0).contains(&value) {
                        self.strange.nan += u64::from(value.is_nan());
                        self.strange.outside += u64::from(!value.is_nan());
                    }
                    let value = if value.is_nan() { 0.0 } else { value };
                    sums[usize::from(self.edge[voxel])] += f64::from(value);
                    let best = self.best[voxel];
                    if value > best
                        || (value == best && class < usize::from(self.best_class[voxel]))
                    {
                        self.best[voxel] = value;
                        self.best_class[voxel] = class as u16;
                    }
                }
                index += 1;
            }
        }
    }

    /// The matrix of what was added.
    pub fn finish(self) -> (NameMatrix, Strange) {
        let most = self.ids.last().copied().unwrap_or(0) as usize;
        let mut sizes = vec![0; most];
        for (&id, voxels) in self.ids.iter().zip(&self.voxels) {
            sizes[id as usize - 1] = voxels[0] + voxels[1];
        }
        let mut sure: Vec<BTreeMap<usize, u64>> = vec![BTreeMap::new(); self.ids.len()];
        for (run, &region) in self.regions.iter().enumerate() {
            for voxel in self.first[run]..self.first[run + 1] {
                let class = usize::from(self.best_class[voxel]);
                if class != 0 && f64::from(self.best[voxel]) > self.plan.contamination_probability {
                    *sure[region as usize].entry(class).or_default() += 1;
                }
            }
        }
        let contamination = sure
            .into_iter()
            .map(
                |classes| {
                    if classes.len() < 2 { Vec::new() } else { classes.into_iter().collect() }
                },
            )
            .collect();
        let edge_weight = self.plan.edge_weight.min(1.0);
        let probabilities = self
            .sums
            .iter()
            .zip(&self.voxels)
            .map(|(sums, &[inner, _])| {
                let lost = inner == 0 && edge_weight == 0.0;
                let edge_weight = if lost && !self.plan.original { 1.0 } else { edge_weight };
                let mut row: Vec<f64> =
                    sums.iter().map(|[inner, edge]| inner + edge * edge_weight).collect();
                let sum: f64 = row.iter().sum();
                if sum != 0.0 || self.plan.original {
                    row.iter_mut().for_each(|value| *value /= sum);
                }
                row
            })
            .collect();
        let matrix = NameMatrix { ids: self.ids, probabilities, contamination, sizes };
        (matrix, self.strange)
    }
}

/// For each voxel in a run, in scan order, whether it is at the edge of its region:
/// whether along some axis exactly one of its two neighbours is in the region. At the
/// ends of the volume the voxel itself stands for the neighbour that is missing; an
/// axis of one voxel has no edges.
fn edges(runs: &Runs) -> Vec<bool> {
    let [depth, height, width] = runs.size();
    let mut edges = Vec::new();
    // The slice before, the slice itself and the one behind it.
    let plane = height * width;
    let slice = |z: usize, out: &mut Vec<u32>| {
        out.resize(plane, 0);
        runs.expand(z..z + 1, out, |label| label);
    };
    let (mut before, mut here, mut behind) = (Vec::new(), Vec::new(), Vec::new());
    for z in 0..depth {
        match z {
            0 => slice(0, &mut here),
            _ => {
                std::mem::swap(&mut before, &mut here);
                std::mem::swap(&mut here, &mut behind);
            }
        }
        if z + 1 < depth {
            slice(z + 1, &mut behind);
        }
        for y in 0..height {
            for run in runs.row(z * height + y) {
                let id = run.label;
                for x in run.start as usize..run.end as usize {
                    let at = y * width + x;
                    let along_z = differ(
                        if z == 0 { &here[at] } else { &before[at] },
                        if z + 1 == depth { &here[at] } else { &behind[at] },
                        id,
                    );
                    let along_y = differ(
                        &here[if y == 0 { at } else { at - width }],
                        &here[if y + 1 == height { at } else { at + width }],
                        id,
                    );
                    let along_x = differ(
                        &here[if x == 0 { at } else { at - 1 }],
                        &here[if x + 1 == width { at } else { at + 1 }],
                        id,
                    );
                    edges.push(along_z || along_y || along_x);
                }
            }
        }
    }
    edges
}

fn differ(one: &u32, other: &u32, id: u32) -> bool {
    (*one == id) != (*other == id)
}

/// Averages several predictions of the same cells. `links` tells for each prediction
/// and region the cell it belongs to; rows of one cell are summed and divided by their
/// sum, voxels and contaminations are added up. Regions without a link are left out.
pub fn averaged(matrices: &[NameMatrix], links: &BTreeMap<(usize, u32), u32>) -> NameMatrix {
    #[derive(Default)]
    struct Cell {
        row: Vec<f64>,
        sure: BTreeMap<usize, u64>,
        voxels: u64,
    }
    let mut cells: BTreeMap<u32, Cell> = BTreeMap::new();
    for (number, matrix) in matrices.iter().enumerate() {
        for (index, id) in matrix.ids.iter().enumerate() {
            let Some(cell) = links.get(&(number, *id)) else { continue };
            let cell = cells.entry(*cell).or_default();
            let row = &matrix.probabilities[index];
            cell.row.resize(row.len(), 0.0);
            cell.row.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            cell.voxels += matrix.sizes[*id as usize - 1];
            for (class, voxels) in &matrix.contamination[index] {
                *cell.sure.entry(*class).or_default() += voxels;
            }
        }
    }
    let most = cells.keys().last().copied().unwrap_or(0);
    let mut averaged = NameMatrix { sizes: vec![0; most as usize], ..NameMatrix::default() };
    for (id, mut cell) in cells {
        let sum: f64 = cell.row.iter().sum();
        if sum != 0.0 {
            cell.row.iter_mut().for_each(|value| *value /= sum);
        }
        averaged.ids.push(id);
        averaged.probabilities.push(cell.row);
        averaged.contamination.push(cell.sure.into_iter().collect());
        averaged.sizes[id as usize - 1] = cell.voxels;
    }
    averaged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge_picture(picture: &[&[&str]]) -> Vec<bool> {
        let size = [picture.len(), picture[0].len(), picture[0][0].len()];
        let labels: Vec<u32> = picture
            .iter()
            .flat_map(|slice| slice.iter())
            .flat_map(|row| row.chars())
            .map(|c| c.to_digit(10).unwrap_or(0))
            .collect();
        edges(&Runs::of_labels(&labels, size))
    }

    #[test]
    fn a_voxel_between_two_others_or_between_none_is_no_edge() {
        // A single voxel and a plate have no neighbour on either side.
        assert_eq!(edge_picture(&[&["...", ".1.", "..."]]), [false]);
        assert_eq!(edge_picture(&[&["....", ".11.", "...."]]), [true, true]);
        let middle = edge_picture(&[&[".111."]]);
        assert_eq!(middle, [true, false, true]);
        // At the end of the volume the next voxel alone decides.
        assert_eq!(edge_picture(&[&["11.."]]), [false, true]);
        assert_eq!(edge_picture(&[&["1..."]]), [true]);
        // Another region is outside.
        assert_eq!(edge_picture(&[&["1122"]]), [false, true, true, false]);
    }

    fn matrix(labels: &[u32], classes: &[&[f32]], plan: MatrixPlan) -> NameMatrix {
        let size = [1, 1, labels.len()];
        let mut builder =
            MatrixBuilder::new(Runs::of_labels(labels, size), classes.len(), plan).unwrap();
        for (class, values) in classes.iter().enumerate().rev() {
            builder.add(class, 0, values);
        }
        builder.finish().0
    }

    #[test]
    fn edges_count_less_and_rows_sum_to_one() {
        let plan = MatrixPlan { edge_weight: 0.5, ..MatrixPlan::default() };
        let found = matrix(
            &[0, 3, 3, 3, 0],
            &[&[0.; 5], &[0., 1., 0., 1., 0.], &[0., 0., 1., 0., 0.]],
            plan,
        );
        assert_eq!(found.ids, [3]);
        assert_eq!(found.probabilities, [[0.0, 0.5, 0.5]]);
        assert_eq!(found.sizes, [0, 0, 3]);
        assert_eq!(found.contamination, [[(1, 2), (2, 1)]]);
    }

    #[test]
    fn a_region_of_edge_alone_has_the_plain_mean() {
        let plan = MatrixPlan { edge_weight: 0.0, ..MatrixPlan::default() };
        let classes: [&[f32]; 2] = [&[0.0, 0.5, 0.5, 0.0], &[0.0, 0.25, 0.75, 0.0]];
        let found = matrix(&[0, 1, 1, 0], &classes, plan);
        assert_eq!(found.probabilities, [[0.5, 0.5]]);
        let original = matrix(&[0, 1, 1, 0], &classes, MatrixPlan { original: true, ..plan });
        assert!(original.probabilities[0][0].is_nan());
    }

    #[test]
    fn predictions_of_one_cell_are_averaged() {
        let one = |id: u32, row: [f64; 2]| NameMatrix {
            ids: vec![id],
            probabilities: vec![row.to_vec()],
            contamination: vec![Vec::new()],
            sizes: (1..=id).map(|other| if other == id { 5 } else { 0 }).collect(),
        };
        let links = BTreeMap::from([((0, 1), 2), ((1, 3), 2)]);
        let mean = averaged(&[one(1, [1.0, 0.0]), one(3, [0.5, 0.5]), one(1, [0.0, 1.0])], &links);
        assert_eq!((mean.ids, mean.probabilities), (vec![2], vec![vec![0.75, 0.25]]));
        assert_eq!(mean.sizes, [0, 10]);
    }
}
