//! How many voxels every pair of a true and a found label shares.

/// A label image with its labels numbered from 0 in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// The labels that occur, ascending.
    pub values: Vec<i64>,
    /// Voxels of each.
    pub sizes: Vec<u64>,
    /// For every voxel the index of its label in `values`.
    pub ids: Vec<u32>,
}

impl Labels {
    /// Numbers the labels of an image.
    pub fn new(image: &[i64]) -> Self {
        let (Some(&min), Some(&max)) = (image.iter().min(), image.iter().max()) else {
            return Self { values: Vec::new(), sizes: Vec::new(), ids: Vec::new() };
        };
        let span = max.abs_diff(min);
        if span < 2 * image.len() as u64 + 65_536 {
            // Labels are close together: a table counts them.
            let mut counts = vec![0u64; span as usize + 1];
            for_runs(image, |label, length| counts[label.abs_diff(min) as usize] += length);
            let mut id_of = vec![0u32; counts.len()];
            let (mut values, mut sizes) = (Vec::new(), Vec::new());
            for (offset, &size) in counts.iter().enumerate().filter(|(_, size)| **size > 0) {
                id_of[offset] = values.len() as u32;
                values.push(min + offset as i64);
                sizes.push(size);
            }
            let ids = image.iter().map(|label| id_of[label.abs_diff(min) as usize]).collect();
            return Self { values, sizes, ids };
        }
        let mut values = Vec::new();
        for_runs(image, |label, _| values.push(label));
        values.sort_unstable();
        values.dedup();
        let mut sizes = vec![0; values.len()];
        let mut ids = Vec::with_capacity(image.len());
        for_runs(image, |label, length| {
            let id = values.partition_point(|&value| value < label);
            sizes[id] += length;
            ids.resize(ids.len() + length as usize, id as u32);
        });
        Self { values, sizes, ids }
    }

    /// The same image with labels of fewer than `least` voxels turned into 0.
    pub fn without_small(self, least: u64) -> Self {
        if self.sizes.iter().all(|&size| size >= least) {
            return self;
        }
        let kept = |id: usize| {
            if self.sizes[id] < least { 0 } else { self.values[id] }
        };
        let mut values: Vec<_> = (0..self.values.len()).map(kept).collect();
        values.sort_unstable();
        values.dedup();
        let new_id: Vec<_> = (0..self.values.len())
            .map(|id| values.partition_point(|&value| value < kept(id)) as u32)
            .collect();
        let mut sizes = vec![0; values.len()];
        for (old, &new) in new_id.iter().enumerate() {
            sizes[new as usize] += self.sizes[old];
        }
        let ids = self.ids.iter().map(|&id| new_id[id as usize]).collect();
        Self { values, sizes, ids }
    }
}

/// Calls `each` with every stretch of equal labels.
fn for_runs<T: Copy + PartialEq>(image: &[T], mut each: impl FnMut(T, u64)) {
    for run in image.chunk_by(|a, b| a == b) {
        each(run[0], run.len() as u64);
    }
}

/// The pairs of labels that share voxels, truth by truth; sparse, since most
/// labels meet few others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contingency {
    /// (id in the truth, id in the segmentation, voxels), by ascending truth.
    pub pairs: Vec<(u32, u32, u64)>,
}

impl Contingency {
    /// Counts the pairs of two images of one size.
    ///
    /// # Panics
    /// If the images differ in size.
    pub fn new(truth: &Labels, found: &Labels) -> Self {
        assert_eq!(truth.ids.len(), found.ids.len());
        // Stretches along which both labels stay the same, sorted by truth.
        let mut runs: Vec<(u32, u32, u32)> = Vec::new();
        let mut starts = vec![0u32; truth.values.len() + 1];
        let mut voxels = truth.ids.iter().copied().zip(found.ids.iter().copied());
        if let Some(mut pair) = voxels.next() {
            let mut length = 1u32;
            let mut close = |(a, b): (u32, u32), length| {
                runs.push((a, b, length));
                starts[a as usize + 1] += 1;
            };
            for next in voxels {
                if next == pair && length < u32::MAX {
                    length += 1;
                } else {
                    close(pair, length);
                    (pair, length) = (next, 1);
                }
            }
            close(pair, length);
        }
        for id in 1..starts.len() {
            starts[id] += starts[id - 1];
        }
        let mut sorted = vec![(0u32, 0u32); runs.len()];
        let mut next = starts.clone();
        for &(a, b, length) in &runs {
            let at = &mut next[a as usize];
            sorted[*at as usize] = (b, length);
            *at += 1;
        }
        drop(runs);

        let mut pairs = Vec::new();
        let mut counts = vec![0u64; found.values.len()];
        let mut touched = Vec::new();
        for (id, range) in starts.windows(2).enumerate() {
            for &(b, length) in &sorted[range[0] as usize..range[1] as usize] {
                let count = &mut counts[b as usize];
                if *count == 0 {
                    touched.push(b);
                }
                *count += u64::from(length);
            }
            touched.sort_unstable();
            for b in touched.drain(..) {
                pairs.push((id as u32, b, std::mem::take(&mut counts[b as usize])));
            }
        }
        Self { pairs }
    }
}
