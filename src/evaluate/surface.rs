//! Distances between the surfaces of two masks.

use super::nearest::VoxelGrid;

/// How far the surfaces of two masks are apart, in the unit of the spacing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SurfaceDistances {
    /// The larger of the two 95th percentiles of the distances from one surface to the
    /// other (MONAI's `compute_hausdorff_distance` with `percentile=95`).
    pub hausdorff95: f64,
    /// The mean over the distances in both directions (MONAI's
    /// `compute_average_surface_distance` with `symmetric=True`).
    pub average: f64,
}

/// Distances between the surface voxels of a prediction and of the truth. `None` if a
/// surface is empty: then there is no distance.
pub fn surface_distances(
    found: Option<&VoxelGrid>,
    truth: Option<&VoxelGrid>,
) -> Option<SurfaceDistances> {
    let (found, truth) = (found?, truth?);
    let to_truth = Distances::new(&found.squares_to(truth));
    let to_found = Distances::new(&truth.squares_to(found));
    let count = to_truth.count + to_found.count;
    let average = (to_truth.sum() + to_found.sum()) / count as f64;
    let hausdorff95 = to_truth.quantile(0.95).max(to_found.quantile(0.95));
    Some(SurfaceDistances { hausdorff95, average })
}

/// Distances in ascending order and how often each occurs.
struct Distances {
    each: Vec<(f64, u64)>,
    count: u64,
}

impl Distances {
    fn new(squares: &[(f64, u64)]) -> Distances {
        let each = squares.iter().map(|(square, times)| (square.sqrt(), *times)).collect();
        Distances { each, count: squares.iter().map(|(_, times)| times).sum() }
    }

    fn sum(&self) -> f64 {
        self.each.iter().map(|(distance, times)| distance * *times as f64).sum()
    }

    /// The distance with that many before it; NaN if there are not so many.
    fn at(&self, mut place: u64) -> f64 {
        for (distance, times) in &self.each {
            if place < *times {
                return *distance;
            }
            place -= times;
        }
        f64::NAN
    }

    /// A quantile with linear interpolation between the two nearest values, as numpy's and
    /// torch's `quantile`. NaN without values.
    fn quantile(&self, share: f64) -> f64 {
        if self.count == 0 {
            return f64::NAN;
        }
        let place = share * (self.count - 1) as f64;
        let below = place.floor() as u64;
        let (low, next) = (self.at(below), self.at((below + 1).min(self.count - 1)));
        low + (next - low) * place.fract()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantile(values: &[f64], share: f64) -> f64 {
        let mut squares: Vec<(f64, u64)> = values.iter().map(|value| (value * value, 1)).collect();
        squares.sort_by(|a, b| a.0.total_cmp(&b.0));
        Distances::new(&squares).quantile(share)
    }

    #[test]
    fn quantiles_lie_between_values() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&[4.0, 1.0, 2.0, 3.0], 0.5), 2.5);
        assert!((quantile(&[0.0, 10.0], 0.95) - 9.5).abs() < 1e-12);
        assert_eq!(quantile(&[7.0], 0.95), 7.0);
        assert!(quantile(&[], 0.95).is_nan());
        let often = Distances::new(&[(0.0, 19), (4.0, 1)]);
        assert_eq!((often.quantile(0.5), often.sum()), (0.0, 2.0));
    }
}
