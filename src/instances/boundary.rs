//! PlantSeg's watershed of a boundary map.
//!
//! `distance_transform_watershed` of PlantSeg (Wolny et al. 2020,
//! doi:10.7554/eLife.57613): seeds at the maxima of the distance to the boundary, a
//! flood of the boundary probability, and a second one without the small regions.

use anyhow::Result;

use crate::regions::maxima::local_maxima;
use crate::regions::{Connectivity, Flood, Runs, distance_to};
use crate::resample::gaussian::{Edge, gaussian_filter};
use crate::runtime::threads;

use super::plan::Boundary;
use super::planes::{Planes, slabs};

/// Numbers the cells of a volume (D, H, W) in scan order; every voxel is in one.
pub fn boundary_regions(
    plan: &Boundary,
    probability: &[f32],
    size: [usize; 3],
    spacing: [f64; 3],
) -> (Runs, u32) {
    let mut labels = cells(plan, probability, size, spacing);
    let count = renumber(&mut labels);
    (Runs::of_labels(&labels, size), count)
}

/// Numbers the cells of every slice by itself; the numbers go on from slice to slice. No
/// more than a few slices are held, and threads work on one each.
///
/// # Errors
/// An image that cannot be read.
pub fn boundary_slices(
    plan: &Boundary,
    planes: &dyn Planes,
    spacing: [f64; 3],
    threads: usize,
) -> Result<(Runs, u32)> {
    let [_, height, width] = planes.size();
    let mut runs = Runs::begin(planes.size());
    let mut before = 0;
    for slices in slabs(planes) {
        let values = planes.read(slices)?;
        for group in values.chunks((height * width * threads.max(1)).max(1)) {
            let slice = |values| boundary_regions(plan, values, [1, height, width], spacing);
            let group = group.chunks_exact((height * width).max(1)).collect();
            for (mut slice, count) in threads::map(group, threads, slice) {
                slice.relabel_each(|label| label + before);
                runs.append(slice);
                before += count;
            }
        }
    }
    Ok((runs, before))
}

fn cells(plan: &Boundary, probability: &[f32], size: [usize; 3], spacing: [f64; 3]) -> Vec<u32> {
    // A gaussian does not smooth along an axis of one voxel.
    let sigmas = |sigma: f64| size.map(|n| if n == 1 { 0.0 } else { sigma });
    let value = |value: f32| if value.is_nan() { 0.0 } else { value };
    let mut distance = distance_to(&boundary_of(probability, plan.threshold), size, spacing);
    if distance.first().is_some_and(|distance| distance.is_infinite()) {
        // No boundary at all: one cell.
        return vec![1; probability.len()];
    }
    gaussian_filter(&mut distance, size, sigmas(plan.sigma_seeds), Edge::Reflect);
    let maxima = local_maxima(&distance, None, size, Connectivity::Corners26);

    let mut heights: Vec<f32> = probability.iter().map(|&p| value(p)).collect();
    gaussian_filter(&mut heights, size, sigmas(plan.sigma_weights), Edge::Reflect);
    if plan.alpha < 1.0 {
        let least = distance.iter().copied().fold(f32::INFINITY, f32::min);
        let most = distance.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        mix(&mut heights, &distance, plan.alpha, [least, most]);
    }
    drop(distance);

    let mut seeds = vec![0; heights.len()];
    for (maximum, label) in maxima.iter().zip(1..) {
        maximum.voxels.iter().for_each(|&voxel| seeds[voxel as usize] = label);
    }
    let labels = flooded(plan, &heights, &seeds, size);
    let mut voxels = vec![0u64; maxima.len() + 1];
    labels.iter().for_each(|&label| voxels[label as usize] += 1);
    let small = |label: u32| voxels[label as usize] < plan.min_size;
    let any_large = (1..voxels.len()).any(|label| !small(label as u32));
    if !any_large || !(1..voxels.len()).any(|label| small(label as u32)) {
        return labels;
    }
    let left: Vec<u32> = labels.iter().map(|&label| if small(label) { 0 } else { label }).collect();
    flooded(plan, &heights, &left, size)
}

/// Which voxels are boundary; NaN is none.
pub fn boundary_of(probability: &[f32], threshold: f64) -> Vec<bool> {
    probability.iter().map(|&value| f64::from(value) > threshold).collect()
}

/// Mixes the inverted distance, scaled from its least and largest value in the volume to 0
/// to 1, into the heights.
pub fn mix(heights: &mut [f32], distance: &[f32], alpha: f64, [least, most]: [f32; 2]) {
    let range = if most > least { most - least } else { 1.0 };
    let alpha = alpha as f32;
    for (height, distance) in heights.iter_mut().zip(distance) {
        *height = alpha * *height + (1.0 - alpha) * (1.0 - (distance - least) / range);
    }
}

/// Floods everything from the seeds.
fn flooded(plan: &Boundary, heights: &[f32], seeds: &[u32], size: [usize; 3]) -> Vec<u32> {
    let [depth, height, width] = size;
    let mut flood = Flood::new(size);
    let rows = || (0..depth).flat_map(|z| (0..height).map(move |y| [z, y, 0]));
    let heights = heights.chunks_exact(width.max(1)).zip(seeds.chunks_exact(width.max(1)));
    for (place, (heights, seeds)) in rows().zip(heights) {
        flood.set_heights(place, heights.iter().copied());
        for (x, &seed) in seeds.iter().enumerate().filter(|(_, seed)| **seed != 0) {
            flood.mark([place[0], place[1], x], seed);
        }
    }
    flood.run(plan.connectivity, plan.rule);
    rows().flat_map(|place| flood.labels(place, width)).collect()
}

/// Numbers the labels from 1 in the order in which a scan meets them.
fn renumber(labels: &mut [u32]) -> u32 {
    let most = labels.iter().copied().max().unwrap_or(0) as usize;
    let mut numbers = vec![0; most + 1];
    let mut count = 0;
    for label in labels.iter_mut().filter(|label| **label != 0) {
        let number = &mut numbers[*label as usize];
        if *number == 0 {
            count += 1;
            *number = count;
        }
        *label = *number;
    }
    count
}
