//! Scores of label images: which objects were found, and how well.

use super::overlaps::{LabelCounts, LabelPairs};

/// The overlaps from which on a found object counts as the true one: 0.50, 0.55, … 0.95.
pub fn levels() -> [f64; 10] {
    std::array::from_fn(|i| (50 + 5 * i) as f64 / 100.0)
}

/// Agreement of the objects of two label images.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectScores {
    /// Objects of the truth and of the prediction.
    pub truth: u64,
    pub found: u64,
    /// At each of [`levels`].
    pub matches: Vec<Matches>,
    /// Adapted Rand error, with the background of the truth left out.
    pub rand_error: f64,
    /// Conditional entropies in bits of prediction given truth and of truth given
    /// prediction; their sum is the variation of information.
    pub split_entropy: f64,
    pub merge_entropy: f64,
    /// True objects that hold more than half of two found ones, at least.
    pub splits: u64,
    /// Found objects that hold more than half of two true ones, at least.
    pub merges: u64,
}

/// Pairs of a true and a found object whose IoU is at least a level; every object is
/// in one pair at most.
#[derive(Clone, Debug, PartialEq)]
pub struct Matches {
    pub level: f64,
    pub pairs: u64,
    /// Sum of the pairs' IoU.
    pub iou: f64,
}

impl ObjectScores {
    /// TP / (TP + FP + FN) at a level, which StarDist calls accuracy and others average
    /// precision. `None` without any object.
    pub fn average_precision(&self, matches: &Matches) -> Option<f64> {
        let all = self.truth + self.found - matches.pairs;
        (all > 0).then(|| matches.pairs as f64 / all as f64)
    }

    /// The mean of [`ObjectScores::average_precision`] over all levels.
    pub fn mean_average_precision(&self) -> Option<f64> {
        let scores: Option<Vec<f64>> =
            self.matches.iter().map(|matches| self.average_precision(matches)).collect();
        scores.map(|scores| scores.iter().sum::<f64>() / scores.len() as f64)
    }

    /// Sum of IoU / (TP + FP/2 + FN/2) at IoU 0.5 (Kirillov et al. 2019,
    /// doi:10.1109/CVPR.2019.00963). `None` without any object.
    pub fn panoptic_quality(&self) -> Option<f64> {
        let all = self.truth + self.found;
        (all > 0).then(|| 2.0 * self.matches[0].iou / all as f64)
    }

    /// The shares of found and of true objects that have a partner at IoU 0.5.
    pub fn precision(&self) -> Option<f64> {
        (self.found > 0).then(|| self.matches[0].pairs as f64 / self.found as f64)
    }

    pub fn recall(&self) -> Option<f64> {
        (self.truth > 0).then(|| self.matches[0].pairs as f64 / self.truth as f64)
    }

    /// Variation of information in bits.
    pub fn variation_of_information(&self) -> f64 {
        self.split_entropy + self.merge_entropy
    }
}

/// The scores of a prediction, and for each of its labels (by index in `found.values`)
/// the index of the true label with which it is paired at IoU 0.5.
pub fn object_scores(labels: &LabelPairs) -> (ObjectScores, Vec<Option<u32>>) {
    let LabelPairs { truth, found, pairs, voxels } = labels;
    let (truth_ground, found_ground) = (truth.background(), found.background());

    let mut overlaps: Vec<(f64, u32, u32)> = pairs
        .iter()
        .filter(|(a, b, _)| Some(*a) != truth_ground && Some(*b) != found_ground)
        .map(|&(a, b, both)| {
            let union = truth.voxels[a as usize] + found.voxels[b as usize] - both;
            (both as f64 / union as f64, a, b)
        })
        .filter(|(iou, ..)| *iou >= 0.5)
        .collect();
    // From an IoU of 0.5 on, an object has several partners only if all of them have
    // exactly 0.5 and no other partner: whoever comes first gives the same scores as the
    // best assignment.
    overlaps.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let mut partner: Vec<Option<u32>> = vec![None; found.values.len()];
    let mut taken = vec![false; truth.values.len()];
    let mut matched = Vec::new();
    for (iou, a, b) in overlaps {
        if !taken[a as usize] && partner[b as usize].is_none() {
            taken[a as usize] = true;
            partner[b as usize] = Some(a);
            matched.push(iou);
        }
    }
    let matches = levels()
        .into_iter()
        .map(|level| {
            let good: Vec<f64> = matched.iter().copied().filter(|iou| *iou >= level).collect();
            Matches { level, pairs: good.len() as u64, iou: good.iter().sum() }
        })
        .collect();

    // How many objects lie in an object by more than half.
    let mut within_truth = vec![0u32; truth.values.len()];
    let mut within_found = vec![0u32; found.values.len()];
    for &(a, b, both) in pairs {
        if Some(a) == truth_ground || Some(b) == found_ground {
            continue;
        }
        within_truth[a as usize] += u32::from(2 * both > found.voxels[b as usize]);
        within_found[b as usize] += u32::from(2 * both > truth.voxels[a as usize]);
    }
    let several = |counts: &[u32]| counts.iter().filter(|count| **count >= 2).count() as u64;

    let (split_entropy, merge_entropy) = entropies(pairs, truth, found, *voxels);
    let scores = ObjectScores {
        truth: truth.objects(),
        found: found.objects(),
        matches,
        rand_error: rand_error(pairs, truth_ground, truth.values.len(), found.values.len()),
        split_entropy,
        merge_entropy,
        splits: several(&within_truth),
        merges: several(&within_found),
    };
    (scores, partner)
}

/// scikit-image's `adapted_rand_error`; 0 where no two voxels belong together.
fn rand_error(
    pairs: &[(u32, u32, u64)],
    ground: Option<u32>,
    truth_labels: usize,
    found_labels: usize,
) -> f64 {
    let ordered = |count: u64| u128::from(count) * u128::from(count.saturating_sub(1));
    let (mut truth, mut found) = (vec![0; truth_labels], vec![0; found_labels]);
    let mut both = 0;
    for &(a, b, count) in pairs.iter().filter(|pair| Some(pair.0) != ground) {
        both += ordered(count);
        truth[a as usize] += count;
        found[b as usize] += count;
    }
    let sum = |sizes: Vec<u64>| sizes.into_iter().map(ordered).sum::<u128>() as f64;
    let whole = 0.5 * sum(truth) + 0.5 * sum(found);
    if whole == 0.0 { 0.0 } else { 1.0 - both as f64 / whole }
}

/// scikit-image's `variation_of_information`: the entropy of the prediction within true
/// labels, and of the truth within found ones, background included.
fn entropies(
    pairs: &[(u32, u32, u64)],
    truth: &LabelCounts,
    found: &LabelCounts,
    voxels: u64,
) -> (f64, f64) {
    let all = voxels as f64;
    let (mut split, mut merge) = (0.0, 0.0);
    for &(a, b, both) in pairs {
        let both = both as f64;
        split -= both / all * (both / truth.voxels[a as usize] as f64).log2();
        merge -= both / all * (both / found.voxels[b as usize] as f64).log2();
    }
    // Sums of nothing but −0.
    (split.max(0.0), merge.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::overlaps::PairCounter;

    fn labels(truth: &[i64], found: &[i64]) -> LabelPairs {
        let mut counter = PairCounter::default();
        counter.add(truth, found, |_| false);
        counter.finish()
    }

    fn scores(truth: &[i64], found: &[i64]) -> ObjectScores {
        object_scores(&labels(truth, found)).0
    }

    #[test]
    fn equal_images_are_perfect_whatever_the_numbers() {
        let (scores, partner) = object_scores(&labels(&[0, 1, 1, 2, 2, 0], &[0, 9, 9, 3, 3, 0]));
        assert_eq!((scores.truth, scores.found), (2, 2));
        assert_eq!(scores.mean_average_precision(), Some(1.0));
        assert_eq!(scores.panoptic_quality(), Some(1.0));
        assert_eq!((scores.rand_error, scores.variation_of_information()), (0.0, 0.0));
        assert_eq!(partner, [None, Some(2), Some(1)]);
    }

    #[test]
    fn halves_are_one_match_and_a_split() {
        let scores = scores(&[0, 1, 1, 1, 1], &[0, 1, 1, 2, 2]);
        assert_eq!(scores.matches[0].pairs, 1);
        assert_eq!(scores.matches[1].pairs, 0);
        assert_eq!((scores.splits, scores.merges), (1, 0));
        assert_eq!(scores.average_precision(&scores.matches[0]), Some(0.5));
    }

    #[test]
    fn one_object_over_two_is_a_merge() {
        let scores = scores(&[1, 1, 2, 2, 2, 0], &[5, 5, 5, 5, 5, 0]);
        assert_eq!((scores.splits, scores.merges), (0, 1));
        assert_eq!(scores.matches[0].pairs, 1);
        assert_eq!((scores.precision(), scores.recall()), (Some(1.0), Some(0.5)));
    }

    #[test]
    fn without_objects_there_is_no_score() {
        let scores = scores(&[0, 0], &[0, 0]);
        assert_eq!((scores.mean_average_precision(), scores.panoptic_quality()), (None, None));
        // Labels need not have a background.
        assert_eq!(self::scores(&[1, 1], &[2, 2]).mean_average_precision(), Some(1.0));
        assert_eq!(self::scores(&[1, 1], &[0, 0]).mean_average_precision(), Some(0.0));
    }
}
