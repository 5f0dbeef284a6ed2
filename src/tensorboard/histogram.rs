//! Histograms with the bins of TensorFlow, as tensorboardX's `add_histogram`
//! makes them by default.

use std::sync::LazyLock;

use super::event::Histogram;

/// Bin edges, ascending: 0 and ±10⁻¹² · 1.1ᵏ up to 10²⁰.
static EDGES: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let positive: Vec<f64> = std::iter::successors(Some(1e-12), |edge| Some(edge * 1.1))
        .take_while(|&edge| edge < 1e20)
        .collect();
    let negative = positive.iter().rev().map(|edge| -edge);
    negative.chain([0.0]).chain(positive.iter().copied()).collect()
});

/// Index by the upper twelve bits of a float (sign, exponent, three bits of the fraction): the
/// number of edges at or below the smallest float with these bits.
static FIRST: LazyLock<Vec<u16>> = LazyLock::new(|| {
    let first = |high: u32| {
        let bits = high << 20;
        // The smallest of the negative ones has the largest fraction.
        let smallest = f32::from_bits(if high >= 1 << 11 { bits | 0xf_ffff } else { bits });
        EDGES.partition_point(|&edge| edge <= f64::from(smallest)) as u16
    };
    (0..1 << 12).map(first).collect()
});

/// The histogram of the values. Bins are half open, the last one closed. Empty bins at both ends
/// are left out, except for one on the left. Values beyond ±10²⁰ are in no bin. `None` if no
/// value is in any bin.
pub(super) fn histogram(values: &[f32]) -> Option<Histogram> {
    let edges = EDGES.as_slice();
    let first = FIRST.as_slice();
    let bins = edges.len() - 1;
    let mut counts = vec![0u64; bins];
    let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
    let (mut sum, mut sum_squares) = (0.0, 0.0);
    for &value in values {
        let x = f64::from(value);
        min = min.min(x);
        max = max.max(x);
        sum += x;
        sum_squares += x * x;
        if value.is_nan() {
            continue;
        }
        let mut above = usize::from(first[(value.to_bits() >> 20) as usize]);
        while above <= bins && edges[above] <= x {
            above += 1;
        }
        if (1..=bins).contains(&above) {
            counts[above - 1] += 1;
        } else if above > bins && x == edges[bins] {
            counts[bins - 1] += 1;
        }
    }
    let start = counts.iter().position(|&count| count > 0)?;
    let end = counts.iter().rposition(|&count| count > 0)? + 1;

    let mut bucket: Vec<f64> =
        counts[start.saturating_sub(1)..end].iter().map(|&n| n as f64).collect();
    if start == 0 {
        bucket.insert(0, 0.0);
    }
    let bucket_limit = edges[start..=end].to_vec();
    Some(Histogram { min, max, num: values.len() as f64, sum, sum_squares, bucket_limit, bucket })
}
