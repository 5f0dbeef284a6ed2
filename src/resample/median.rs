//! The median of many voxels.

/// numpy's median of float32 values: the middle value, or the mean of the two middle values. 0
/// without values.
pub fn median(values: &[f32]) -> f32 {
    let n = values.len();
    if n == 0 {
        return 0.0;
    }
    let [lower, upper] = near_sample(values, (n - 1) / 2, n / 2)
        .unwrap_or_else(|| [nth(values, (n - 1) / 2), nth(values, n / 2)]);
    // Like numpy, computes the mean in float32.
    if lower == upper { upper } else { (lower + upper) / 2.0 }
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

/// An integer with the same order as the float.
#[inline(always)]
fn key(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn from_key(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

/// The value that has `rank` smaller values in sorted order. Counts eleven bits of the values at
/// a time: three passes over the data and no copy.
fn nth(values: &[f32], mut rank: usize) -> f32 {
    let mut known = 0u32;
    let mut known_bits = 0u32;
    for bits in [11, 11, 10] {
        let shift = 32 - known_bits - bits;
        let mut counts = vec![0usize; 1 << bits];
        let mask = (1u32 << bits) - 1;
        for &value in values {
            let key = key(value);
            // In the first pass no bits are known, and a shift by 32 would overflow.
            if known_bits == 0 || key >> (32 - known_bits) == known {
                counts[(key >> shift & mask) as usize] += 1;
            }
        }
        let mut bucket = 0;
        while rank >= counts[bucket] {
            rank -= counts[bucket];
            bucket += 1;
        }
        known = known << bits | bucket as u32;
        known_bits += bits;
    }
    from_key(known)
}

/// The median of any ordered values, in float64; partially sorts a copy.
pub fn median_of<T: Copy>(values: &[T], to_f64: impl Fn(T) -> f64) -> f64 {
    let mut copy: Vec<f64> = values.iter().map(|&value| to_f64(value)).collect();
    let n = copy.len();
    if n == 0 {
        return 0.0;
    }
    let (below, &mut upper, _) = copy.select_nth_unstable_by(n / 2, f64::total_cmp);
    if n % 2 == 1 {
        return upper;
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (lower + upper) / 2.0
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
        fn counting_agrees_with_sorting(values in prop::collection::vec(-1e3f32..1e3, 1..200)) {
            let sorted = median_of(&values, f64::from);
            prop_assert!((f64::from(median(&values)) - sorted).abs() <= 1e-6 * sorted.abs());
        }
    }
}
