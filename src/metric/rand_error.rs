//! The adapted Rand error of two label images.

use crate::regions::{Contingency, LabelImage};

/// The adapted Rand error of SNEMI3D (Arganda-Carreras et al. 2015,
/// doi:10.3389/fnana.2015.00142), `1 − Σp² / (½ Σs² + ½ Σt²)` over pairs of
/// voxels, where the label 0 of the truth is left out. 0 is a perfect
/// segmentation, 1 the worst.
///
/// An image of one label, in the truth or in the segmentation, scores 0; so does
/// one in which no two voxels belong together in either.
pub fn adapted_rand_error(truth: &LabelImage, found: &LabelImage) -> f64 {
    if truth.values.len() < 2 || found.values.len() < 2 {
        return 0.0;
    }
    rand_error(truth, found)
}

/// As [`adapted_rand_error`], without the exception for images of one label.
pub(super) fn rand_error(truth: &LabelImage, found: &LabelImage) -> f64 {
    let background = truth.values.binary_search(&0).ok().map(|id| id as u32);
    let mut truth_sizes = vec![0u64; truth.values.len()];
    let mut found_sizes = vec![0u64; found.values.len()];
    let mut both = 0;
    for (a, b, count) in Contingency::new(truth, found).pairs {
        if Some(a) == background {
            continue;
        }
        both += ordered_pairs(count);
        truth_sizes[a as usize] += count;
        found_sizes[b as usize] += count;
    }
    let truth: u128 = truth_sizes.into_iter().map(ordered_pairs).sum();
    let found: u128 = found_sizes.into_iter().map(ordered_pairs).sum();
    if truth + found == 0 {
        return 0.0;
    }
    1.0 - both as f64 / (0.5 * found as f64 + 0.5 * truth as f64)
}

/// Ordered pairs of different voxels among `count`.
fn ordered_pairs(count: u64) -> u128 {
    u128::from(count) * u128::from(count.saturating_sub(1))
}
