//! Label images as runs: stretches of one label along x.
//!
//! A run takes 12 bytes however long it is, so that the regions of a volume fit in
//! memory where the volume itself does not. Connected components, sizes, centroids
//! and boxes are found from the runs, without a pass over the voxels.

use std::ops::Range;

use super::Connectivity;

/// A stretch of voxels along x that have the same label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first x.
    pub start: u32,
    /// The x after the last.
    pub end: u32,
    pub label: u32,
}

impl Run {
    pub fn voxels(&self) -> u64 {
        u64::from(self.end - self.start)
    }
}

/// A label image (D, H, W) as the runs of its rows, in scan order. Voxels in no run
/// have the label 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runs {
    size: [usize; 3],
    /// Row `z * H + y` owns `runs[first[row]..first[row + 1]]`.
    first: Vec<usize>,
    runs: Vec<Run>,
}

/// What the runs of one label add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    pub voxels: u64,
    /// Sums of the voxels' coordinates z, y, x, from 0.
    pub sums: [u64; 3],
    /// The least z, y, x.
    pub min: [usize; 3],
    /// The greatest z, y, x; the voxel is part of the box.
    pub max: [usize; 3],
    /// The last voxel in scan order.
    pub last: u64,
}

impl Region {
    /// The mean voxel (z, y, x), counted from 1.
    pub fn centroid(&self) -> [f64; 3] {
        self.sums.map(|sum| (sum + self.voxels) as f64 / self.voxels as f64)
    }

    /// Whether the region touches a face of a volume of that size. An axis of one
    /// voxel has no faces.
    pub fn touches_border(&self, size: [usize; 3]) -> bool {
        (0..3)
            .any(|axis| size[axis] > 1 && (self.min[axis] == 0 || self.max[axis] + 1 == size[axis]))
    }

    /// Depth, height and width of the bounding box.
    pub fn box_size(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.max[axis] + 1 - self.min[axis])
    }
}

impl Runs {
    /// An image without rows; [`Runs::push_row`] adds them until it is full.
    pub fn begin(size: [usize; 3]) -> Runs {
        let mut first = Vec::with_capacity(size[0] * size[1] + 1);
        first.push(0);
        Runs { size, first, runs: Vec::new() }
    }

    /// The voxels of an image (D, H, W) that have a label other than 0.
    ///
    /// # Panics
    /// If the image does not have that size.
    pub fn of_labels(labels: &[u32], size: [usize; 3]) -> Runs {
        assert_eq!(labels.len(), size.iter().product::<usize>());
        let mut runs = Runs::begin(size);
        for row in labels.chunks_exact(size[2].max(1)) {
            let mut x = 0;
            for stretch in row.chunk_by(|a, b| a == b) {
                let end = x + stretch.len() as u32;
                if stretch[0] != 0 {
                    runs.runs.push(Run { start: x, end, label: stretch[0] });
                }
                x = end;
            }
            runs.first.push(runs.runs.len());
        }
        runs
    }

    /// Adds the next row in scan order; its runs must be in order and apart.
    pub fn push_row(&mut self, runs: impl IntoIterator<Item = Run>) {
        self.runs.extend(runs);
        self.first.push(self.runs.len());
    }

    /// Adds the rows of an image of the same height and width behind those here.
    pub fn append(&mut self, next: Runs) {
        let before = self.runs.len();
        self.runs.extend(next.runs);
        self.first.extend(next.first[1..].iter().map(|first| first + before));
    }

    /// Depth, height and width.
    pub fn size(&self) -> [usize; 3] {
        self.size
    }

    /// All runs in scan order.
    pub fn all(&self) -> &[Run] {
        &self.runs
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.first.len() - 1
    }

    /// The runs of row `z * H + y`.
    pub fn row(&self, row: usize) -> &[Run] {
        &self.runs[self.first[row]..self.first[row + 1]]
    }

    /// How many runs the rows before `row` have.
    pub fn runs_before(&self, row: usize) -> usize {
        self.first[row]
    }

    /// The label of a voxel (z, y, x).
    pub fn at(&self, [z, y, x]: [usize; 3]) -> u32 {
        let row = self.row(z * self.size[1] + y);
        let next = row.partition_point(|run| run.end as usize <= x);
        row.get(next).filter(|run| run.start as usize <= x).map_or(0, |run| run.label)
    }

    /// Numbers the connected components from 1 in the order in which a scan of the
    /// volume meets them, and returns how many there are. Runs of different labels
    /// belong to different components.
    ///
    /// Each run is joined with the runs before it that it touches, by union-find
    /// (He et al. 2008, doi:10.1109/TIP.2008.917204); what takes time is the number
    /// of runs, not of voxels.
    pub fn label(&mut self, connectivity: Connectivity) -> u32 {
        let [_, height, _] = self.size;
        let mut parents: Vec<u32> = (0..self.runs.len() as u32).collect();
        for row in 0..self.rows() {
            if self.row(row).is_empty() {
                continue;
            }
            let (z, y) = ((row / height) as isize, (row % height) as isize);
            for &(dz, dy, reach) in connectivity.rows_before() {
                let (z, y) = (z + dz, y + dy);
                if z >= 0 && (0..height as isize).contains(&y) {
                    let other = z as usize * height + y as usize;
                    self.join(&mut parents, row, other, reach);
                }
            }
        }
        let mut count = 0;
        for run in 0..parents.len() {
            let parent = parents[run] as usize;
            // A parent comes before its run and has its number already.
            parents[run] = if parent == run {
                count += 1;
                count
            } else {
                parents[parent]
            };
            self.runs[run].label = parents[run];
        }
        count
    }

    /// Joins the runs of two rows that touch and have the same label.
    fn join(&self, parents: &mut [u32], a: usize, b: usize, reach: u32) {
        let (a, b) = (self.first[a]..self.first[a + 1], self.first[b]..self.first[b + 1]);
        let (mut i, mut j) = (a.start, b.start);
        while i < a.end && j < b.end {
            let (one, other) = (self.runs[i], self.runs[j]);
            if one.start < other.end + reach
                && other.start < one.end + reach
                && one.label == other.label
            {
                let (one, other) = (root(parents, i as u32), root(parents, j as u32));
                parents[one.max(other) as usize] = one.min(other);
            }
            if one.end <= other.end {
                i += 1;
            } else {
                j += 1;
            }
        }
    }

    /// Sizes, centroids and boxes of the labels 1 to `count`; `None` for those that
    /// no voxel has.
    pub fn regions(&self, count: u32) -> Vec<Option<Region>> {
        let [_, height, width] = self.size;
        let mut regions: Vec<Option<Region>> = vec![None; count as usize];
        for row in 0..self.rows() {
            let (z, y) = (row / height, row % height);
            for run in self.row(row) {
                let Some(slot) =
                    (run.label as usize).checked_sub(1).and_then(|i| regions.get_mut(i))
                else {
                    continue;
                };
                let (start, end, voxels) = (run.start as usize, run.end as usize, run.voxels());
                let region = slot.get_or_insert(Region {
                    voxels: 0,
                    sums: [0; 3],
                    min: [z, y, start],
                    max: [z, y, end - 1],
                    last: 0,
                });
                region.voxels += voxels;
                region.sums[0] += z as u64 * voxels;
                region.sums[1] += y as u64 * voxels;
                region.sums[2] += (run.start as u64 + run.end as u64 - 1) * voxels / 2;
                region.min = [region.min[0], region.min[1].min(y), region.min[2].min(start)];
                region.max =
                    [region.max[0].max(z), region.max[1].max(y), region.max[2].max(end - 1)];
                region.last = (row * width + end - 1) as u64;
            }
        }
        regions
    }

    /// Gives every label `i` the label `table[i]`; runs that become 0 are removed.
    pub fn relabel(&mut self, table: &[u32]) {
        let mut kept = 0;
        let mut start = 0;
        for row in 0..self.rows() {
            let end = self.first[row + 1];
            for run in start..end {
                let label = table[self.runs[run].label as usize];
                if label != 0 {
                    self.runs[kept] = Run { label, ..self.runs[run] };
                    kept += 1;
                }
            }
            start = end;
            self.first[row + 1] = kept;
        }
        self.runs.truncate(kept);
    }

    /// Gives every run the label that `label` makes of its own.
    ///
    /// # Panics
    /// If that is 0: [`Runs::relabel`] removes runs.
    pub fn relabel_each(&mut self, label: impl Fn(u32) -> u32) {
        for run in &mut self.runs {
            run.label = label(run.label);
            assert_ne!(run.label, 0);
        }
    }

    /// The voxels that are in no run, as runs of label 1.
    pub fn complement(&self) -> Runs {
        let width = self.size[2] as u32;
        let mut complement = Runs::begin(self.size);
        for row in 0..self.rows() {
            let mut start = 0;
            let ends = self.row(row).iter().map(|run| (run.start, run.end));
            let mut gaps = Vec::new();
            for (next, end) in ends.chain([(width, width)]) {
                if next > start {
                    gaps.push(Run { start, end: next, label: 1 });
                }
                start = end;
            }
            complement.push_row(gaps);
        }
        complement
    }

    /// The runs of two images of one size together, which must not overlap. Runs that
    /// touch and have one label become one.
    pub fn union(&self, other: &Runs) -> Runs {
        let mut union = Runs::begin(self.size);
        let mut both: Vec<Run> = Vec::new();
        for row in 0..self.rows() {
            both.clear();
            both.extend(self.row(row));
            both.extend(other.row(row));
            both.sort_unstable_by_key(|run| run.start);
            let start = union.runs.len();
            for run in &both {
                match union.runs[start..].last_mut() {
                    Some(last) if last.end == run.start && last.label == run.label => {
                        last.end = run.end;
                    }
                    _ => union.runs.push(*run),
                }
            }
            union.first.push(union.runs.len());
        }
        union
    }

    /// The parts of runs that lie within runs of `mask`, an image of the same size.
    pub fn within(&self, mask: &Runs) -> Runs {
        let mut parts = Runs::begin(self.size);
        self.overlaps(mask, |row, run, _| {
            while parts.rows() < row {
                parts.push_row([]);
            }
            parts.runs.push(run);
        });
        while parts.rows() < self.rows() {
            parts.push_row([]);
        }
        parts
    }

    /// Calls `each` for every stretch that is in a run of both images: its row, the
    /// stretch with the label it has here, and the label it has there.
    pub fn overlaps(&self, other: &Runs, mut each: impl FnMut(usize, Run, u32)) {
        for row in 0..self.rows() {
            let (ours, theirs) = (self.row(row), other.row(row));
            let (mut i, mut j) = (0, 0);
            while i < ours.len() && j < theirs.len() {
                let start = ours[i].start.max(theirs[j].start);
                let end = ours[i].end.min(theirs[j].end);
                if start < end {
                    each(row, Run { start, end, label: ours[i].label }, theirs[j].label);
                }
                if ours[i].end <= theirs[j].end {
                    i += 1;
                } else {
                    j += 1;
                }
            }
        }
    }

    /// Writes the labels of some slices into `out`, (d, H, W).
    ///
    /// # Panics
    /// If `out` does not have that size.
    pub fn expand<T: Copy + Default>(
        &self,
        slices: Range<usize>,
        out: &mut [T],
        value: impl Fn(u32) -> T,
    ) {
        let [_, height, width] = self.size;
        assert_eq!(out.len(), slices.len() * height * width);
        out.fill(T::default());
        let rows = slices.start * height..slices.end * height;
        for (row, out) in rows.zip(out.chunks_exact_mut(width.max(1))) {
            for run in self.row(row) {
                out[run.start as usize..run.end as usize].fill(value(run.label));
            }
        }
    }

    /// The labels of all voxels, (D, H, W).
    pub fn labels(&self) -> Vec<u32> {
        let mut labels = vec![0; self.size.iter().product()];
        self.expand(0..self.size[0], &mut labels, |label| label);
        labels
    }
}

fn root(parents: &mut [u32], mut run: u32) -> u32 {
    while parents[run as usize] != run {
        // Halving keeps the paths short.
        let above = parents[parents[run as usize] as usize];
        parents[run as usize] = above;
        run = above;
    }
    run
}

/// Calls `found` with start and end of every stretch of `row` above `limit`.
pub fn stretches_above(row: &[f32], limit: f32, mut found: impl FnMut(usize, usize)) {
    // Whole groups first: most of a volume is long stretches on one side.
    const GROUP: usize = 32;
    let mut start = None;
    let mut at = 0;
    while at < row.len() {
        let group = &row[at..row.len().min(at + GROUP)];
        let above = group.iter().fold(0u32, |above, &value| above + u32::from(value > limit));
        if above == 0 {
            if let Some(start) = start.take() {
                found(start, at);
            }
        } else if above as usize == group.len() {
            start.get_or_insert(at);
        } else {
            for (x, &value) in (at..).zip(group) {
                match start {
                    None if value > limit => start = Some(x),
                    Some(begun) if value <= limit || value.is_nan() => {
                        found(begun, x);
                        start = None;
                    }
                    _ => {}
                }
            }
        }
        at += group.len();
    }
    if let Some(start) = start {
        found(start, row.len());
    }
}

/// The float32 that a float32 must exceed to be above `threshold`, compared in double
/// precision.
pub fn limit(threshold: f64) -> f32 {
    let near = threshold as f32;
    if f64::from(near) > threshold { near.next_down() } else { near }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels from a picture: slices apart by an empty line, '.' is 0.
    fn image(picture: &[&[&str]]) -> Runs {
        let size = [picture.len(), picture[0].len(), picture[0][0].len()];
        let labels: Vec<u32> = picture
            .iter()
            .flat_map(|slice| slice.iter())
            .flat_map(|row| row.chars())
            .map(|c| c.to_digit(36).unwrap_or(0))
            .collect();
        Runs::of_labels(&labels, size)
    }

    #[test]
    fn components_depend_on_what_voxels_share() {
        let picture =
            image(&[&["11...", "..1..", ".....", "1...1"], &["...1.", "...1.", "....1", "....1"]]);
        let count = |connectivity| picture.clone().label(connectivity);
        // In the first slice a pair and one beside its corner; in the second a column,
        // one step of which shares an edge with (0, 1, 2), and a pair below.
        assert_eq!(count(Connectivity::Faces6), 5);
        assert_eq!(count(Connectivity::Edges18), 2);
        assert_eq!(count(Connectivity::Corners26), 2);
        let corner = image(&[&["1.", ".."], &["..", ".1"]]);
        assert_eq!(corner.clone().label(Connectivity::Edges18), 2);
        assert_eq!(corner.clone().label(Connectivity::Corners26), 1);
    }

    #[test]
    fn components_are_numbered_by_their_first_voxel() {
        let mut picture = image(&[&[".1.1", "11.1", "...."], &["....", "1...", "...1"]]);
        assert_eq!(picture.label(Connectivity::Faces6), 3);
        let expected = image(&[&[".1.2", "11.2", "...."], &["....", "1...", "...3"]]);
        assert_eq!(picture, expected);
    }

    #[test]
    fn labels_part_components() {
        let mut picture = image(&[&["1122", "1122"]]);
        assert_eq!(picture.label(Connectivity::Faces6), 2);
        assert_eq!(picture, image(&[&["1122", "1122"]]));
    }

    #[test]
    fn regions_are_measured_from_their_runs() {
        let picture = image(&[&[".33.", "..3."], &["....", "1.3."]]);
        let regions = picture.regions(3);
        assert_eq!(regions[1], None);
        let three = regions[2].as_ref().unwrap();
        assert_eq!((three.voxels, three.sums), (4, [1, 2, 7]));
        assert_eq!((three.min, three.max, three.last), ([0, 0, 1], [1, 1, 2], 14));
        assert_eq!(three.centroid(), [1.25, 1.5, 2.75]);
        assert!(three.touches_border(picture.size()));
        assert_eq!(picture.at([1, 1, 0]), 1);
        assert_eq!(picture.at([1, 1, 1]), 0);
    }

    #[test]
    fn a_single_slice_has_no_faces_along_z() {
        let picture = image(&[&["....", ".11.", "...."]]);
        assert!(!picture.regions(1)[0].as_ref().unwrap().touches_border([1, 3, 4]));
    }

    #[test]
    fn relabelling_removes_what_becomes_zero() {
        let mut picture = image(&[&["12.3", "3..1"]]);
        picture.relabel(&[0, 5, 0, 2]);
        assert_eq!(picture, image(&[&["5..2", "2..5"]]));
        assert_eq!(picture.labels(), [5, 0, 0, 2, 2, 0, 0, 5]);
    }

    #[test]
    fn complements_unions_and_cuts() {
        let picture = image(&[&["11..", ".1.1", "...."]]);
        assert_eq!(picture.complement(), image(&[&["..11", "1.1.", "1111"]]));
        assert_eq!(picture.union(&picture.complement()), image(&[&["1111", "1111", "1111"]]));
        let mask = image(&[&["..11", "1111", "...."]]);
        assert_eq!(picture.within(&mask), image(&[&["....", ".1.1", "...."]]));
    }

    #[test]
    fn stretches_are_found_across_groups() {
        let mut row = vec![0.0f32; 100];
        row[3] = 0.9;
        row[20..70].fill(0.6);
        row[69] = f32::NAN;
        row[99] = 0.8;
        let mut found = Vec::new();
        stretches_above(&row, limit(0.5), |start, end| found.push((start, end)));
        assert_eq!(found, [(3, 4), (20, 69), (99, 100)]);
    }

    #[test]
    fn thresholds_are_compared_in_double_precision() {
        let above = |value: f32, threshold: f64| value > limit(threshold);
        for threshold in [0.5, 0.7, 0.8, 0.9, 0.35, -0.1, 1e-50, 0.0] {
            let near = threshold as f32;
            for value in [near.next_down(), near, near.next_up()] {
                assert_eq!(above(value, threshold), f64::from(value) > threshold);
            }
        }
        assert!(above(0.8, 0.8) && !above(0.7, 0.7) && !above(0.9, 0.9));
    }
}
