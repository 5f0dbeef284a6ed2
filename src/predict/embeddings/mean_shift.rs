//! Mean shift with a flat kernel, from seeds on a grid: `sklearn.cluster.MeanShift` with
//! `bin_seeding=True`. No maintained crate has it.

use std::collections::HashMap;

use ndarray::ArrayView2;

/// Steps that a seed takes at most.
const STEPS: usize = 300;
/// A seed rests when a step is no longer than this share of the bandwidth.
const REST: f64 = 1e-3;

/// A place where seeds came to rest, with the points around it.
struct Peak {
    place: Vec<f32>,
    points: usize,
}

/// The cluster of each row of `points`, numbered from 0 from the densest on.
pub fn labels(points: ArrayView2<'_, f32>, bandwidth: f32) -> Vec<i32> {
    let points = Points::new(points);
    let mut peaks: Vec<Peak> = points
        .seeds(bandwidth)
        .into_iter()
        .filter_map(|seed| points.climb(seed, bandwidth))
        .collect();
    // Dense peaks first, and of equally dense ones those farther along the axes.
    peaks.sort_by(|a, b| {
        let places = || a.place.iter().zip(&b.place).map(|(a, b)| b.total_cmp(a));
        b.points
            .cmp(&a.points)
            .then_with(|| places().find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal))
    });
    let mut centres: Vec<Vec<f32>> = Vec::new();
    for peak in peaks {
        let is_near = |centre: &Vec<f32>| square(centre, &peak.place) <= bandwidth * bandwidth;
        if !centres.iter().any(is_near) {
            centres.push(peak.place);
        }
    }
    points.rows().map(|point| nearest(&centres, point)).collect()
}

/// Index of the centre that is nearest to a point, the first of equally near ones.
fn nearest(centres: &[Vec<f32>], point: &[f32]) -> i32 {
    let mut best = (f32::INFINITY, 0);
    for (index, centre) in (0..).zip(centres) {
        let distance = square(centre, point);
        if distance < best.0 {
            best = (distance, index);
        }
    }
    best.1
}

/// Square of the distance of two points.
fn square(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// Points one after the other.
struct Points {
    values: Vec<f32>,
    axes: usize,
}

impl Points {
    fn new(points: ArrayView2<'_, f32>) -> Points {
        Points { values: points.iter().copied().collect(), axes: points.ncols() }
    }

    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.axes)
    }

    /// The centres of the cells of a grid that hold a point, or the points themselves if
    /// each has a cell of its own.
    fn seeds(&self, bandwidth: f32) -> Vec<Vec<f32>> {
        let mut order: HashMap<Vec<i64>, usize> = HashMap::new();
        for point in self.rows() {
            let cell = point.iter().map(|x| (x / bandwidth).round_ties_even() as i64).collect();
            let next = order.len();
            order.entry(cell).or_insert(next);
        }
        if order.len() == self.values.len() / self.axes {
            return self.rows().map(<[f32]>::to_vec).collect();
        }
        let mut cells: Vec<(Vec<i64>, usize)> = order.into_iter().collect();
        cells.sort_unstable_by_key(|(_, order)| *order);
        let centre = |cell: Vec<i64>| cell.iter().map(|i| *i as f32 * bandwidth).collect();
        cells.into_iter().map(|(cell, _)| centre(cell)).collect()
    }

    /// Where a seed comes to rest; `None` if no point is near it.
    fn climb(&self, seed: Vec<f32>, bandwidth: f32) -> Option<Peak> {
        let mut place = seed;
        let mut near = 0;
        for step in 0..=STEPS {
            let mut sums = vec![0.0f64; self.axes];
            let mut count = 0usize;
            for point in self.rows() {
                if square(point, &place) <= bandwidth * bandwidth {
                    count += 1;
                    sums.iter_mut().zip(point).for_each(|(sum, x)| *sum += f64::from(*x));
                }
            }
            if count == 0 {
                break;
            }
            near = count;
            let mean: Vec<f32> = sums.iter().map(|sum| (sum / count as f64) as f32).collect();
            let moved = f64::from(square(&mean, &place)).sqrt();
            place = mean;
            if moved <= REST * f64::from(bandwidth) || step == STEPS {
                break;
            }
        }
        (near > 0).then_some(Peak { place, points: near })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn two_heaps_are_two_clusters_the_larger_one_first() {
        let points = array![[5.0, 5.0], [0.0, 0.1], [0.1, 0.0], [5.1, 5.0], [0.0, 0.0f32]];
        assert_eq!(labels(points.view(), 1.0), [1, 0, 0, 1, 0]);
        // A bandwidth that reaches over both.
        assert_eq!(labels(points.view(), 10.0), [0; 5]);
    }
}
