//! Regions of patches, brought together into those of a volume.

use std::collections::{BTreeMap, HashMap};

use ndarray::{Array3, Zip, s};

use super::RegionSpec;

/// The regions of a volume, as far as its patches have come.
///
/// A patch replaces what earlier ones said. One of its regions takes the label that most of
/// its voxels have from them, if the two agree by their intersection over union within the
/// patch; other regions get labels of their own. Voxels that no patch has reached count as
/// a region with the label 0.
#[derive(Debug)]
pub struct Stitched {
    labels: Array3<i32>,
    visited: Array3<bool>,
}

impl Stitched {
    /// Of a volume of `size` (z, y, x) that no patch has reached.
    pub fn new(size: [usize; 3]) -> Stitched {
        Stitched { labels: Array3::zeros(size), visited: Array3::from_elem(size, false) }
    }

    /// The labels (D, H, W).
    pub fn labels(&self) -> &Array3<i32> {
        &self.labels
    }

    /// Puts the clusters of a patch, numbered from 0, at `corner`.
    pub fn add(&mut self, corner: [usize; 3], mut patch: Array3<i32>, spec: &RegionSpec) {
        let noise = spec.noise_label;
        let free = self.labels.iter().max().copied().unwrap_or(0) + 1;
        patch.mapv_inplace(|label| if label == noise { noise } else { label + free });

        let (d, h, w) = patch.dim();
        let [z, y, x] = corner;
        let place = s![z..z + d, y..y + h, x..x + w];
        let (mut before, mut visited) =
            (self.labels.slice_mut(place), self.visited.slice_mut(place));
        let mut overlapping: BTreeMap<i32, BTreeMap<i32, usize>> = BTreeMap::new();
        Zip::from(&patch).and(&visited).for_each(|label, visited| {
            if *visited && *label != noise {
                overlapping.entry(*label).or_default();
            }
        });
        let mut sizes: HashMap<i32, usize> = HashMap::new();
        let mut sizes_before: HashMap<i32, usize> = HashMap::new();
        Zip::from(&patch).and(&before).for_each(|label, before| {
            *sizes.entry(*label).or_default() += 1;
            *sizes_before.entry(*before).or_default() += 1;
            if let Some(counts) = overlapping.get_mut(label) {
                *counts.entry(*before).or_default() += 1;
            }
        });
        let mut renamed: HashMap<i32, i32> = HashMap::new();
        for (label, counts) in &overlapping {
            // Of equally frequent labels the smallest.
            let most = counts.iter().max_by_key(|(label, count)| (**count, -i64::from(**label)));
            let Some((&old, &both)) = most.filter(|(old, _)| **old != noise) else { continue };
            let either = sizes[label] + sizes_before[&old] - both;
            if both as f64 / either as f64 > spec.iou_threshold {
                renamed.insert(*label, old);
            }
        }
        patch.mapv_inplace(|label| renamed.get(&label).copied().unwrap_or(label));
        before.assign(&patch);
        visited.fill(true);
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array;

    use super::*;
    use crate::predict::embeddings::Clustering;

    fn row(labels: &[i32]) -> Array3<i32> {
        Array::from_shape_vec((1, 1, labels.len()), labels.to_vec()).unwrap()
    }

    #[test]
    fn regions_that_agree_in_the_overlap_are_one() {
        let spec = RegionSpec {
            clustering: Clustering::MeanShift { bandwidth: 1.0 },
            iou_threshold: 0.5,
            noise_label: -1,
        };
        let mut volume = Stitched::new([1, 1, 10]);
        volume.add([0, 0, 0], row(&[0, 0, 0, 1, 1, 1]), &spec);
        assert_eq!(volume.labels().as_slice().unwrap(), [1, 1, 1, 2, 2, 2, 0, 0, 0, 0]);
        // The second region of the former patch goes on, a new one begins, one is noise.
        volume.add([0, 0, 3], row(&[7, 7, 7, 7, 3, -1]), &spec);
        assert_eq!(volume.labels().as_slice().unwrap(), [1, 1, 1, 2, 2, 2, 2, 6, -1, 0]);
    }
}
