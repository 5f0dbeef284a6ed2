//! How many voxels every pair of a true and a found label shares, counted slab by slab.

use std::collections::HashMap;

/// The labels of an image, ascending, with the voxels of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelCounts {
    pub values: Vec<i64>,
    pub voxels: Vec<u64>,
}

/// The labels of two images, and the pairs of them that share voxels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelPairs {
    pub truth: LabelCounts,
    pub found: LabelCounts,
    /// (index in the truth, index in the prediction, voxels), ascending.
    pub pairs: Vec<(u32, u32, u64)>,
    pub voxels: u64,
}

/// Counts pairs. It holds some bytes for each of them, and none for a voxel.
#[derive(Debug, Default)]
pub struct PairCounter {
    voxels: HashMap<(i64, i64), u64>,
}

impl PairCounter {
    /// Adds the labels of some voxels, without those whose true label is left out.
    pub fn add(&mut self, truth: &[i64], found: &[i64], left_out: impl Fn(i64) -> bool) {
        let mut at = 0;
        while at < truth.len() {
            // Most voxels continue a stretch of equal labels.
            let pair = (truth[at], found[at]);
            let same = truth[at..].iter().zip(&found[at..]);
            let length = same.take_while(|(a, b)| (**a, **b) == pair).count();
            if !left_out(pair.0) {
                *self.voxels.entry(pair).or_default() += length as u64;
            }
            at += length;
        }
    }

    /// What was counted.
    ///
    /// # Panics
    /// If there are more labels than an index of 32 bits can tell apart.
    pub fn finish(self) -> LabelPairs {
        let mut counted: Vec<((i64, i64), u64)> = self.voxels.into_iter().collect();
        counted.sort_unstable();
        let counts = |label: fn(&(i64, i64)) -> i64| {
            let mut labels: Vec<(i64, u64)> =
                counted.iter().map(|(pair, voxels)| (label(pair), *voxels)).collect();
            labels.sort_unstable_by_key(|(label, _)| *label);
            let mut counts = LabelCounts::default();
            for (label, voxels) in labels {
                if counts.values.last() == Some(&label)
                    && let Some(sum) = counts.voxels.last_mut()
                {
                    *sum += voxels;
                } else {
                    counts.values.push(label);
                    counts.voxels.push(voxels);
                }
            }
            assert!(u32::try_from(counts.values.len()).is_ok());
            counts
        };
        let (truth, found) = (counts(|pair| pair.0), counts(|pair| pair.1));
        let pairs = counted
            .iter()
            .map(|&((a, b), voxels)| (truth.index(a), found.index(b), voxels))
            .collect();
        let voxels = counted.iter().map(|(_, voxels)| voxels).sum();
        LabelPairs { truth, found, pairs, voxels }
    }
}

impl LabelCounts {
    /// The index of a label that is there.
    fn index(&self, label: i64) -> u32 {
        self.values.partition_point(|value| *value < label) as u32
    }

    /// The index of the background, if there is any.
    pub fn background(&self) -> Option<u32> {
        self.values.binary_search(&0).ok().map(|index| index as u32)
    }

    /// How many labels are objects.
    pub fn objects(&self) -> u64 {
        self.values.len() as u64 - u64::from(self.background().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_those_of_all_slabs() {
        let truth = [0, 0, 7, 7, 7, -1, 2, 2];
        let found = [0, 5, 5, 5, 0, 5, 300, 300];
        let count = |step: usize| {
            let mut counter = PairCounter::default();
            for (truth, found) in truth.chunks(step).zip(found.chunks(step)) {
                counter.add(truth, found, |label| label < 0);
            }
            counter.finish()
        };
        let whole = count(8);
        assert_eq!(
            (whole.truth.values.clone(), whole.found.values.clone()),
            (vec![0, 2, 7], vec![0, 5, 300])
        );
        assert_eq!(
            (whole.truth.voxels.clone(), whole.found.voxels.clone()),
            (vec![2, 2, 3], vec![2, 3, 2])
        );
        assert_eq!(whole.pairs, [(0, 0, 1), (0, 1, 1), (1, 2, 2), (2, 0, 1), (2, 1, 2)]);
        assert_eq!((whole.voxels, whole.truth.objects()), (7, 2));
        assert!(count(1) == whole && count(3) == whole);
    }
}
