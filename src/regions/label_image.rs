//! Label images with their labels numbered.

use super::Components;

/// A label image with its labels numbered from 0 in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelImage {
    /// The labels that occur, ascending.
    pub values: Vec<i64>,
    /// Voxels of each.
    pub sizes: Vec<u64>,
    /// For every voxel the index of its label in `values`.
    pub ids: Vec<u32>,
}

impl LabelImage {
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

impl From<Components> for LabelImage {
    /// The components as labels; 0 is the background, if there is any.
    fn from(components: Components) -> Self {
        let Components { labels, count } = components;
        let (mut ids, _) = labels.into_raw_vec_and_offset();
        let mut sizes = vec![0u64; count as usize + 1];
        for_runs(&ids, |id, length| sizes[id as usize] += length);
        let mut values: Vec<_> = (0..=i64::from(count)).collect();
        if sizes[0] == 0 && !ids.is_empty() {
            // No voxel is background: the labels start at 1.
            values.remove(0);
            sizes.remove(0);
            ids.iter_mut().for_each(|id| *id -= 1);
        }
        Self { values, sizes, ids }
    }
}

/// Calls `each` with every stretch of equal labels.
fn for_runs<T: Copy + PartialEq>(image: &[T], mut each: impl FnMut(T, u64)) {
    for run in image.chunk_by(|a, b| a == b) {
        each(run[0], run.len() as u64);
    }
}
