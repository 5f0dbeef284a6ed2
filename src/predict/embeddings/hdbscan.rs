//! HDBSCAN of `petal-clustering`, with the results of the Python package `hdbscan`.

use ndarray::ArrayView2;
use petal_clustering::{Fit, HDbscan};
use petal_neighbors::distance::Euclidean;

/// The cluster of each row of `points`, numbered by their first point; −1 for noise.
pub fn labels(
    points: ArrayView2<'_, f32>,
    min_cluster_size: usize,
    min_samples: usize,
) -> Vec<i32> {
    let count = points.nrows();
    let mut labels = vec![-1; count];
    // Fewer points than a cluster has, or than neighbours are looked for.
    if count < min_cluster_size.max(2) {
        return labels;
    }
    let mut clustering = HDbscan {
        alpha: 1.0,
        // The point itself counts as one of its neighbours there, but not in Python.
        min_samples: (min_samples + 1).min(count),
        min_cluster_size,
        metric: Euclidean::default(),
        boruvka: true,
    };
    let (clusters, _, _) = clustering.fit(&points.mapv(f64::from), None);
    let mut clusters: Vec<Vec<usize>> = clusters.into_values().collect();
    clusters.sort_unstable_by_key(|members| members.iter().min().copied());
    for (label, members) in (0..).zip(clusters) {
        for member in members {
            labels[member] = label;
        }
    }
    labels
}
