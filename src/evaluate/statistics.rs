//! Means over files with their uncertainty, and whether two sets of scores differ.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// A mean and an interval that holds it in 95 of 100 cases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    pub mean: f64,
    /// Percentile bootstrap over the values; `None` for a single one.
    pub interval: Option<[f64; 2]>,
    /// How many values there are.
    pub count: usize,
}

/// The mean of values with its bootstrap interval: the 2.5th and 97.5th percentile of
/// the means of `samples` draws with replacement. `None` without values. The same seed
/// gives the same interval.
pub fn mean(values: &[f64], samples: usize, seed: u64) -> Option<Mean> {
    if values.is_empty() {
        return None;
    }
    let count = values.len();
    let mean = values.iter().sum::<f64>() / count as f64;
    if count == 1 || samples == 0 {
        return Some(Mean { mean, interval: None, count });
    }
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut means: Vec<f64> = (0..samples)
        .map(|_| {
            (0..count).map(|_| values[random.random_range(0..count)]).sum::<f64>() / count as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let percentile = |share: f64| {
        let place = share * (samples - 1) as f64;
        let (low, high) = (means[place.floor() as usize], means[place.ceil() as usize]);
        low + (high - low) * place.fract()
    };
    Some(Mean { mean, interval: Some([percentile(0.025), percentile(0.975)]), count })
}

/// Differences up to which the distribution of the test is exact.
const EXACT: usize = 200;

/// Two-sided p value of the Wilcoxon signed-rank test (Wilcoxon 1945,
/// doi:10.2307/3001968) that differences are symmetric about 0, as
/// `scipy.stats.wilcoxon`: differences of 0 are left out, equal ones share their ranks,
/// and the distribution is the exact one of all signs, for more than 200 differences the
/// normal one. `None` if no difference is left.
pub fn wilcoxon(differences: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> =
        differences.iter().copied().filter(|value| *value != 0.0 && !value.is_nan()).collect();
    sorted.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let count = sorted.len();
    if count == 0 {
        return None;
    }
    // Ranks times two are whole numbers, ties included.
    let mut ranks = vec![0usize; count];
    let mut ties = 0.0;
    let mut start = 0;
    while start < count {
        let mut end = start + 1;
        while end < count && sorted[end].abs() == sorted[start].abs() {
            end += 1;
        }
        ranks[start..end].fill(start + 1 + end);
        let equal = (end - start) as f64;
        ties += equal.powi(3) - equal;
        start = end;
    }
    let positive: usize =
        sorted.iter().zip(&ranks).filter(|(value, _)| **value > 0.0).map(|(_, rank)| rank).sum();
    let whole: usize = ranks.iter().sum();
    let least = positive.min(whole - positive);
    if count > EXACT {
        let n = count as f64;
        let expected = n * (n + 1.0) / 4.0;
        let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0;
        let z = (least as f64 / 2.0 - expected) / variance.sqrt();
        return Some((2.0 * normal_below(z)).min(1.0));
    }
    // The probability of each sum of the ranks of positive differences.
    let mut probability = vec![0.0f64; whole + 1];
    probability[0] = 1.0;
    let mut reach = 0;
    for rank in ranks {
        reach += rank;
        for sum in (0..=reach).rev() {
            let with = if sum >= rank { probability[sum - rank] } else { 0.0 };
            probability[sum] = 0.5 * (probability[sum] + with);
        }
    }
    let below: f64 = probability[..=least].iter().sum();
    Some((2.0 * below).min(1.0))
}

/// The probability that a standard normal value is below `z`, by the continued fraction
/// of the error function's complement for the tail and its series near 0.
fn normal_below(z: f64) -> f64 {
    let x = z.abs();
    let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let above = if x < 3.0 {
        // Φ(x) − ½ = φ(x) · Σ x^(2k+1) / (1·3·5…(2k+1))
        let (mut term, mut sum) = (x, x);
        for k in 1..200 {
            term *= x * x / f64::from(2 * k + 1);
            sum += term;
        }
        0.5 - density * sum
    } else {
        let fraction = (1..=100).rev().fold(0.0, |below, k| f64::from(k) / (x + below));
        density / (x + fraction)
    };
    if z < 0.0 { above } else { 1.0 - above }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_value_has_no_interval() {
        assert_eq!(mean(&[], 100, 0), None);
        assert_eq!(mean(&[2.0], 100, 0), Some(Mean { mean: 2.0, interval: None, count: 1 }));
    }

    #[test]
    fn an_interval_is_as_wide_as_theory_says() {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let found = mean(&values, 10_000, 3).unwrap();
        let [low, high] = found.interval.unwrap();
        let half = 1.96 * 28.866 / 10.0;
        assert!(
            (low - (found.mean - half)).abs() < 0.4 && (high - (found.mean + half)).abs() < 0.4
        );
        assert_eq!(mean(&values, 10_000, 3).unwrap(), found);
    }

    #[test]
    fn signed_ranks_are_those_of_small_tables() {
        // All of five are positive: 2 of 32 arrangements are as extreme.
        assert_eq!(wilcoxon(&[1.0, 2.0, 3.0, 4.0, 5.0]), Some(0.0625));
        assert_eq!(wilcoxon(&[-1.0, 1.0, 0.0]), Some(1.0));
        assert_eq!(wilcoxon(&[0.0, 0.0]), None);
    }

    #[test]
    fn the_normal_distribution_is_known() {
        for (z, expected) in [
            (0.0, 0.5),
            (-1.959963984540054, 0.025),
            (-4.0, 3.167124183311986e-5),
            (1.0, 0.8413447460685429),
        ] {
            assert!((normal_below(z) / expected - 1.0).abs() < 1e-9, "{z}");
        }
    }
}
