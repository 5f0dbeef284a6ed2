//! The median of many voxels.

use std::cmp::Ordering;

/// numpy's median of float32 values: the middle one, or the mean of the two in the
/// middle, in float32. 0 of nothing.
pub fn median(values: &[f32]) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let n = values.len();
    let [lower, upper] = near_sample(values, (n - 1) / 2, n / 2)
        .unwrap_or_else(|| middle(&mut values.to_vec(), f32::total_cmp));
    if lower == upper { upper } else { (lower + upper) / 2.0 }
}

/// The median of any ordered values, in float64; sorts half of a copy.
pub fn median_of<T: Copy>(values: &[T], to_f64: impl Fn(T) -> f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let mut copy: Vec<f64> = values.iter().map(|&value| to_f64(value)).collect();
    let [lower, upper] = middle(&mut copy, f64::total_cmp);
    if lower == upper { upper } else { (lower + upper) / 2.0 }
}

/// The two values in the middle, or the one twice; moves the values about.
fn middle<T: Copy>(values: &mut [T], compare: impl Fn(&T, &T) -> Ordering) -> [T; 2] {
    let n = values.len();
    let (below, &mut upper, _) = values.select_nth_unstable_by(n / 2, &compare);
    match below.iter().copied().max_by(&compare) {
        Some(lower) if n.is_multiple_of(2) => [lower, upper],
        _ => [upper, upper],
    }
}

/// Number of values from which on a sample is used to estimate the median.
const SAMPLE: usize = 1024;

/// The values of two neighbouring ranks around the middle, in one pass: bounds for the middle
/// come from a sample; values below them are counted and values between them collected. `None` if
/// the median is not within the bounds.
fn near_sample(values: &[f32], lower: usize, upper: usize) -> Option<[f32; 2]> {
    if values.len() < 16 * SAMPLE {
        return None;
    }
    let mut sample: Vec<f32> =
        values.iter().step_by(values.len() / SAMPLE).copied().take(SAMPLE).collect();
    sample.sort_unstable_by(f32::total_cmp);
    // Three standard deviations of the fraction of a sample that is below the median.
    let margin = SAMPLE / 20;
    let (low, high) = (sample[SAMPLE / 2 - margin], sample[SAMPLE / 2 + margin]);
    let mut below = 0;
    let mut between = Vec::with_capacity(values.len() / 8);
    let mut found = [0f32; SAMPLE];
    for block in values.chunks(SAMPLE) {
        let mut count = 0;
        for &value in block {
            below += usize::from(value < low);
            // Written unconditionally, so that no branch can be mispredicted.
            found[count % SAMPLE] = value;
            count += usize::from(value >= low && value <= high);
        }
        between.extend_from_slice(&found[..count]);
    }
    let (lower, upper) = (lower.checked_sub(below)?, upper.checked_sub(below)?);
    if upper >= between.len() {
        return None;
    }
    let (left, &mut high, _) = between.select_nth_unstable_by(upper, f32::total_cmp);
    let low = match lower == upper {
        true => high,
        false => left.iter().copied().fold(f32::NEG_INFINITY, f32::max),
    };
    Some([low, high])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn middle_of_small_lists() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[-3.0]), -3.0);
        assert_eq!(median(&[4.0, -1.0]), 1.5);
        assert_eq!(median(&[1.0, 1.0, 1.0, 9.0]), 1.0);
        assert_eq!(median(&[-0.5, 0.25, f32::MAX]), 0.25);
        assert_eq!(median_of(&[3u8, 1, 2, 9], f64::from), 2.5);
    }

    #[test]
    fn a_sample_that_misleads_does_no_harm() {
        let n = 16 * SAMPLE;
        // The sampled values are all large, all small, or all equal.
        let step = n / SAMPLE;
        let seen = |i: usize| i.is_multiple_of(step);
        let large: Vec<f32> = (0..n).map(|i| if seen(i) { 1e6 } else { i as f32 }).collect();
        let small: Vec<f32> = (0..n).map(|i| if seen(i) { -1e6 } else { i as f32 }).collect();
        let same: Vec<f32> = (0..n).map(|i| if seen(i) { 7.0 } else { i as f32 }).collect();
        let constant = vec![0.25f32; n + 1];
        let ramp: Vec<f32> = (0..n).map(|i| ((i * 7919) % n) as f32).collect();
        for values in [large, small, same, constant, ramp] {
            assert_eq!(f64::from(median(&values)), median_of(&values, f64::from));
        }
    }

    proptest! {
        #[test]
        fn float32_agrees_with_float64(values in prop::collection::vec(-1e3f32..1e3, 1..200)) {
            let sorted = median_of(&values, f64::from);
            prop_assert!((f64::from(median(&values)) - sorted).abs() <= 1e-6 * sorted.abs());
        }
    }
}
