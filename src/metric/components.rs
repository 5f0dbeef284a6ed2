//! Connected components of a binary volume.

/// Components of a mask, numbered from 1 in the order in which a scan of the
/// volume (x fastest) meets them; 0 is the background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Components {
    /// (D, H, W), flat.
    pub labels: Vec<u32>,
    pub count: u32,
}

/// A stretch of foreground along x.
struct Run {
    start: u32,
    end: u32,
}

/// Labels the foreground of `mask`, (D, H, W) flat, joining voxels that share a
/// face (6-connectivity; scikit-image's `connectivity=1`).
///
/// One pass cuts every row into runs and joins each with the runs that it
/// touches in the row above and in the slice before (union-find; He et al. 2008,
/// doi:10.1109/TIP.2008.917204); a second writes the labels.
///
/// # Panics
/// If `mask` does not have the length that `size` says.
pub fn components(mask: &[bool], [depth, height, width]: [usize; 3]) -> Components {
    assert_eq!(mask.len(), depth * height * width);
    let rows = depth * height;
    let mut runs: Vec<Run> = Vec::new();
    // Row r owns runs[first[r]..first[r + 1]].
    let mut first = Vec::with_capacity(rows + 1);
    let mut parents = Parents(Vec::new());
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
        if row % height > 0 {
            parents.join(&runs, here.clone(), first[row - 1]..first[row]);
        }
        if row >= height {
            parents.join(&runs, here, first[row - height]..first[row - height + 1]);
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
    Components { labels, count: numbers.count }
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

    /// Joins the runs of two neighbouring rows where they overlap.
    fn join(&mut self, runs: &[Run], a: std::ops::Range<usize>, b: std::ops::Range<usize>) {
        let (mut i, mut j) = (a.start, b.start);
        while i < a.end && j < b.end {
            if runs[i].start < runs[j].end && runs[j].start < runs[i].end {
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
