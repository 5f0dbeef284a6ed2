//! How many voxels every pair of a true and a found label shares.

use super::LabelImage;

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
    pub fn new(truth: &LabelImage, found: &LabelImage) -> Self {
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

    /// How much the regions of the two images overlap, without the background: the
    /// smallest label of an image, which has the id 0, is none of its regions.
    /// `truth` and `found` are the images that the table was made of.
    pub fn overlaps(&self, truth: &LabelImage, found: &LabelImage) -> Vec<Overlap> {
        let regions = self.pairs.iter().filter(|&&(a, b, _)| a > 0 && b > 0);
        regions
            .map(|&(a, b, both)| {
                let union = truth.sizes[a as usize] + found.sizes[b as usize] - both;
                Overlap { truth: a, found: b, iou: both as f64 / union as f64 }
            })
            .collect()
    }
}

/// Two regions that share voxels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overlap {
    /// Id in the truth.
    pub truth: u32,
    /// Id in the segmentation.
    pub found: u32,
    /// Intersection over union, above 0 and at most 1.
    pub iou: f64,
}
