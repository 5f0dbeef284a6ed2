//! Connected components of a binary volume.

use std::ops::Range;

use ndarray::{Array3, ArrayView3};

use super::Connectivity;

/// Components of a mask, numbered from 1 in the order in which a scan of the
/// volume (x fastest, then y, then z) meets them; 0 is the background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Components {
    /// (D, H, W)
    pub labels: Array3<u32>,
    pub count: u32,
}

/// A stretch of foreground along x.
struct Run {
    start: u32,
    end: u32,
}

/// Labels the connected components of the foreground of `mask`, (D, H, W).
///
/// One pass cuts every row into runs and joins each with the runs that it
/// touches in earlier rows (union-find; He et al. 2008,
/// doi:10.1109/TIP.2008.917204); a second writes the labels.
pub fn components(mask: ArrayView3<'_, bool>, connectivity: Connectivity) -> Components {
    let (depth, height, width) = mask.dim();
    let mask = mask.as_standard_layout();
    let mask = mask.as_slice().unwrap_or_default();
    let rows = depth * height;
    let mut runs: Vec<Run> = Vec::new();
    // Row r owns runs[first[r]..first[r + 1]].
    let mut first = Vec::with_capacity(rows + 1);
    let mut parents = Parents(Vec::new());
    let earlier = connectivity.earlier_rows();
    for row in 0..rows {
        first.push(runs.len());
        let voxels = &mask[row * width..(row + 1) * width];
        let mut x = 0;
        while let Some(offset) = find(&voxels[x..], true) {
            let start = x + offset;
            x = start + find(&voxels[start..], false).unwrap_or(width - start);
            runs.push(Run { start: start as u32, end: x as u32 });
            parents.push();
        }
        let here = first[row]..runs.len();
        let (z, y) = (row / height, row % height);
        for &EarlierRow { dz, dy, reach } in earlier {
            let (Some(z), Some(y)) = (z.checked_sub(dz), y.checked_add_signed(dy)) else {
                continue;
            };
            if y < height {
                let there = z * height + y;
                parents.join(&runs, here.clone(), first[there]..first[there + 1], reach);
            }
        }
    }
    first.push(runs.len());

    let numbers = parents.number();
    let mut labels = vec![0; mask.len()];
    for row in 0..rows {
        let row_labels = &mut labels[row * width..(row + 1) * width];
        let own = first[row]..first[row + 1];
        for (run, &number) in runs[own.clone()].iter().zip(&numbers.of[own]) {
            row_labels[run.start as usize..run.end as usize].fill(number);
        }
    }
    let labels = Array3::from_shape_vec((depth, height, width), labels);
    Components { labels: labels.expect("one label a voxel"), count: numbers.count }
}

/// A row that is scanned before the present one and has neighbours of its voxels.
struct EarlierRow {
    /// Slices up.
    dz: usize,
    /// Rows on.
    dy: isize,
    /// How far along x, from 0, neighbours are.
    reach: u32,
}

impl Connectivity {
    /// The rows before a row that hold neighbours of its voxels.
    fn earlier_rows(self) -> &'static [EarlierRow] {
        const fn row(dz: usize, dy: isize, reach: u32) -> EarlierRow {
            EarlierRow { dz, dy, reach }
        }
        match self {
            Self::Faces6 => const { &[row(0, -1, 0), row(1, 0, 0)] },
            Self::Edges18 => const { &[row(0, -1, 1), row(1, -1, 0), row(1, 0, 1), row(1, 1, 0)] },
            Self::Corners26 => {
                const { &[row(0, -1, 1), row(1, -1, 1), row(1, 0, 1), row(1, 1, 1)] }
            }
        }
    }
}

/// Position of the first voxel that is `wanted`.
fn find(voxels: &[bool], wanted: bool) -> Option<usize> {
    // Whole groups first: most of a volume is long stretches of one value.
    const GROUP: usize = 32;
    let mut groups = voxels.chunks_exact(GROUP);
    let mut skipped = 0;
    for group in &mut groups {
        let hits = group.iter().fold(false, |any, &voxel| any | (voxel == wanted));
        if hits {
            return group.iter().position(|&voxel| voxel == wanted).map(|at| skipped + at);
        }
        skipped += GROUP;
    }
    groups.remainder().iter().position(|&voxel| voxel == wanted).map(|at| skipped + at)
}

/// Union-find over runs. The parent of a run never comes after it, so that the
/// root of a component is the run that a scan meets first.
struct Parents(Vec<u32>);

struct Numbers {
    of: Vec<u32>,
    count: u32,
}

impl Parents {
    fn push(&mut self) {
        self.0.push(self.0.len() as u32);
    }

    fn root(&mut self, mut run: u32) -> u32 {
        while self.0[run as usize] != run {
            // Halving keeps the paths short.
            let above = self.0[self.0[run as usize] as usize];
            self.0[run as usize] = above;
            run = above;
        }
        run
    }

    /// Joins the runs of two rows where they overlap or are at most `reach` apart.
    fn join(&mut self, runs: &[Run], a: Range<usize>, b: Range<usize>, reach: u32) {
        let (mut i, mut j) = (a.start, b.start);
        while i < a.end && j < b.end {
            if runs[i].start < runs[j].end + reach && runs[j].start < runs[i].end + reach {
                let (one, other) = (self.root(i as u32), self.root(j as u32));
                self.0[one.max(other) as usize] = one.min(other);
            }
            if runs[i].end <= runs[j].end {
                i += 1;
            } else {
                j += 1;
            }
        }
    }

    /// The number of every run's component.
    fn number(self) -> Numbers {
        let mut of = self.0;
        let mut count = 0;
        for run in 0..of.len() {
            let parent = of[run] as usize;
            // A parent comes before its run, and has its number already.
            of[run] = if parent == run {
                count += 1;
                count
            } else {
                of[parent]
            };
        }
        Numbers { of, count }
    }
}
