//! The median of many voxels.

/// numpy's median of float32 values: the middle one, or the mean of the two in
/// the middle. 0 of nothing.
///
/// Finds it by counting, eleven bits of the value at a time, without a copy:
/// three passes over the data.
pub fn median(values: &[f32]) -> f32 {
    let n = values.len();
    if n == 0 {
        return 0.0;
    }
    let upper = nth(values, n / 2);
    if n % 2 == 1 {
        return upper;
    }
    let lower = nth(values, n / 2 - 1);
    // As numpy does: the mean in float32.
    if lower == upper { upper } else { (lower + upper) / 2.0 }
}

/// An integer that is ordered as the float is.
#[inline(always)]
fn key(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn from_key(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

/// The value with `rank` smaller ones before it in sorted order.
fn nth(values: &[f32], mut rank: usize) -> f32 {
    let mut known = 0u32;
    let mut known_bits = 0u32;
    for bits in [11, 11, 10] {
        let shift = 32 - known_bits - bits;
        let mut counts = vec![0usize; 1 << bits];
        let mask = (1u32 << bits) - 1;
        for &value in values {
            let key = key(value);
            // A shift by 32 would mean "no bits known yet".
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

/// The median of any ordered values, in float64; sorts half of a copy.
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

    proptest! {
        #[test]
        fn counting_agrees_with_sorting(values in prop::collection::vec(-1e3f32..1e3, 1..200)) {
            let sorted = median_of(&values, f64::from);
            prop_assert!((f64::from(median(&values)) - sorted).abs() <= 1e-6 * sorted.abs());
        }
    }
}
