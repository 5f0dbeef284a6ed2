//! From a probability to numbered regions.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};

use crate::regions::{Flood, QueueRule, Region, Runs};

use super::boundary::{boundary_regions, boundary_slices};
use super::boundary_blocks::{BYTES, BoundaryBlocks};
use super::cut::{Cutter, DistanceMarkers, Markers, RegionToCut, Stretch, numbered};
use super::foreground::{Strange, above, regions};
use super::plan::{Boundary, Foreground, Height, InstancesPlan, Level, Split};
use super::planes::Planes;

/// The images that a segmentation works on, all of one size.
pub struct Input<'a> {
    pub probability: &'a dyn Planes,
    /// Only voxels that are not 0 here can be in a region.
    pub mask: Option<&'a dyn Planes>,
    /// What [`Height::Raw`] floods.
    pub raw: Option<&'a dyn Planes>,
    /// The markers of [`Split::Seeds`].
    pub seeds: Option<SeedImage<'a>>,
    /// Voxel spacing along z, y, x.
    pub spacing: [f64; 3],
    pub threads: usize,
    /// Bytes of memory for the watershed of a boundary map.
    pub memory: usize,
    /// A folder for what does not fit into it.
    pub scratch: &'a Path,
}

/// An image of markers.
#[derive(Clone, Copy)]
pub enum SeedImage<'a> {
    /// Whole numbers: each but 0 is a marker.
    Labels(&'a dyn Planes),
    /// A probability, whose regions above the threshold are markers.
    Probability(&'a dyn Planes),
}

/// Numbered regions before and after the cut.
#[derive(Clone, Debug)]
pub struct Segmentation {
    pub before: Arc<Runs>,
    pub before_count: u32,
    pub regions: Arc<Runs>,
    /// The labels are 1 to this.
    pub count: u32,
    /// For label i + 1 the label before the cut.
    pub origins: Vec<u32>,
    /// Centroids that decided that a region is cut, with the label before the cut:
    /// (label, [x, y, z] from 1). Only for splits by thresholds.
    pub evidence: Vec<(u32, [i64; 3])>,
    /// Values of the probability that are none.
    pub strange: Strange,
}

/// Finds the regions of a probability and cuts those that hold several objects. The
/// result depends on neither the threads nor the slabs in which the images are read.
pub fn segment(plan: &InstancesPlan, input: &Input<'_>) -> Result<Segmentation> {
    match plan {
        InstancesPlan::Foreground(plan) => segment_foreground(plan, input),
        InstancesPlan::Boundary(plan) => segment_boundary(plan, input),
    }
}

/// The watershed of a boundary map: in one piece if that fits into the memory, else in
/// blocks, with the same result.
fn segment_boundary(plan: &Boundary, input: &Input<'_>) -> Result<Segmentation> {
    let Input { probability, spacing, threads, memory, scratch, .. } = *input;
    let size = probability.size();
    let (_, strange) = above(probability, &[], threads)?;
    let bytes = size.iter().product::<usize>().saturating_mul(BYTES);
    let (regions, count) = if plan.slices {
        boundary_slices(plan, probability, spacing, threads)?
    } else if bytes <= memory || plan.rule == QueueRule::Previous {
        // What a voxel does under this rule depends on all others.
        ensure!(
            Flood::fits(size),
            "{size:?} voxels are too many for --queue previous: take --queue own, or --slices"
        );
        boundary_regions(plan, &probability.read(0..size[0])?, size, spacing)
    } else {
        BoundaryBlocks::new(plan, probability, spacing, threads, memory, scratch).run()?
    };
    let regions = Arc::new(regions);
    Ok(Segmentation {
        before: regions.clone(),
        before_count: count,
        regions,
        count,
        origins: (1..=count).collect(),
        evidence: Vec::new(),
        strange,
    })
}

fn segment_foreground(plan: &Foreground, input: &Input<'_>) -> Result<Segmentation> {
    let size = input.probability.size();
    let levels: &[Level] = match &plan.split {
        Split::Thresholds { levels, .. } => levels,
        _ => &[],
    };
    let thresholds: Vec<f64> =
        [plan.threshold].into_iter().chain(levels.iter().map(|level| level.threshold)).collect();
    let (mut masks, strange) = above(input.probability, &thresholds, input.threads)?;
    if let Some(mask) = input.mask {
        let mask = nonzero(mask)?;
        masks.iter_mut().for_each(|image| *image = image.within(&mask));
    }
    let mut masks = masks.into_iter();
    let (before, before_count) = regions(masks.next().unwrap_or_else(|| Runs::begin(size)), plan);
    let parts = masks.zip(levels).map(|(mask, level)| {
        let part = Foreground {
            threshold: level.threshold,
            min_size: level.min_size,
            max_size: None,
            fill: false,
            drop_border: false,
            ..plan.clone()
        };
        regions(mask, &part)
    });

    let mut evidence = Vec::new();
    let markers: BTreeMap<u32, Markers> = match &plan.split {
        Split::None => BTreeMap::new(),
        Split::Thresholds { whole_parts: true, .. } => {
            most_markers(parts.map(|(parts, _)| overlapping(&before, &parts)))
        }
        Split::Thresholds { whole_parts: false, .. } => {
            let levels = parts.map(|(parts, count)| centroids(&before, &parts.regions(count)));
            let found = most(levels.collect(), Vec::len);
            for (label, voxels) in &found {
                evidence.extend(
                    voxels
                        .iter()
                        .map(|[z, y, x]| (*label, [x + 1, y + 1, z + 1].map(|n| n as i64))),
                );
            }
            found.into_iter().map(|(label, voxels)| (label, at_voxels(&voxels))).collect()
        }
        Split::Distance { .. } => {
            (1..=before_count).map(|label| (label, Markers::Distance)).collect()
        }
        Split::Seeds => {
            let seeds = match input.seeds {
                Some(SeedImage::Labels(image)) => labels(image)?,
                Some(SeedImage::Probability(image)) => {
                    let (mut masks, _) = above(image, &[plan.threshold], input.threads)?;
                    let mut seeds = masks.pop().unwrap_or_else(|| Runs::begin(size));
                    seeds.label(plan.connectivity);
                    seeds
                }
                None => Runs::begin(size),
            };
            most_markers([overlapping(&before, &seeds)].into_iter())
        }
    };

    let jobs = jobs(&before, before_count, markers);
    let distance = match plan.split {
        Split::Distance { sigma, height, apart } => {
            let finest = input.spacing.iter().copied().fold(f64::INFINITY, f64::min);
            let height = height.unwrap_or(0.75 * finest) as f32;
            DistanceMarkers { sigma, height, apart }
        }
        _ => DistanceMarkers { sigma: 0.0, height: 0.0, apart: 0.0 },
    };
    let cutter = Cutter {
        flooding: plan.flooding,
        distance,
        spacing: input.spacing,
        heights: match plan.flooding.height {
            Height::Probability => Some(input.probability),
            Height::Raw => input.raw,
            Height::Distance => None,
        },
        size,
        threads: input.threads,
    };
    let pieces = cutter.run(&jobs)?;
    let (regions, origins) = numbered(&before, before_count, &pieces);
    let count = origins.len() as u32;
    let (before, regions) = match pieces.iter().any(|pieces| pieces.count > 1) {
        true => (Arc::new(before), Arc::new(regions)),
        false => {
            let regions = Arc::new(regions);
            (regions.clone(), regions)
        }
    };
    Ok(Segmentation { before, before_count, regions, count, origins, evidence, strange })
}

/// The voxels of an image that are not 0, as runs of label 1.
fn nonzero(image: &dyn Planes) -> Result<Runs> {
    let mut runs = labels(image)?;
    runs.relabel_each(|_| 1);
    Ok(runs)
}

/// From here on not every whole number is a float32.
const MOST_LABEL: f32 = 16_777_216.0;

/// A label image as runs. Values that are no positive number count as 0, others are rounded.
///
/// # Errors
/// Labels that a float32 may confuse.
fn labels(image: &dyn Planes) -> Result<Runs> {
    let [depth, height, width] = image.size();
    let mut runs = Runs::begin([depth, height, width]);
    for slices in super::planes::slabs(image) {
        let size = [slices.len(), height, width];
        let values = image.read(slices)?;
        if let Some(label) = values.iter().find(|label| **label >= MOST_LABEL) {
            bail!("the image of seeds or the mask has the label {label}: less than 2²⁴ is needed");
        }
        let values: Vec<u32> = values.iter().map(|&value| value.round() as u32).collect();
        runs.append(Runs::of_labels(&values, size));
    }
    Ok(runs)
}

/// The voxels (z, y, x) at the regions' rounded centroids, by the label of the image
/// `before` that each lies on; those on no label are dropped.
fn centroids(before: &Runs, regions: &[Option<Region>]) -> BTreeMap<u32, Vec<[usize; 3]>> {
    let mut found: BTreeMap<u32, Vec<[usize; 3]>> = BTreeMap::new();
    for region in regions.iter().flatten() {
        let voxel = region.centroid().map(|mean| mean.round_ties_even() as usize - 1);
        let label = before.at(voxel);
        if label != 0 {
            found.entry(label).or_default().push(voxel);
        }
    }
    found
}

/// The parts of an image of markers that lie in each region: (label of the marker,
/// its voxels), in scan order.
fn overlapping(before: &Runs, markers: &Runs) -> BTreeMap<u32, Vec<(u32, Stretch)>> {
    let height = before.size()[1];
    let mut found: BTreeMap<u32, Vec<(u32, Stretch)>> = BTreeMap::new();
    before.overlaps(markers, |row, run, marker| {
        found.entry(run.label).or_default().push((marker, Stretch::of(row, run, height)));
    });
    found
}

/// For each label what the level gives it that has the most, at least two; of equals
/// the later level.
fn most<T>(levels: Vec<BTreeMap<u32, T>>, size: impl Fn(&T) -> usize) -> BTreeMap<u32, T> {
    let mut best: BTreeMap<u32, T> = BTreeMap::new();
    for level in levels {
        for (label, found) in level {
            if size(&found) >= best.get(&label).map_or(2, &size) {
                best.insert(label, found);
            }
        }
    }
    best
}

/// The markers of the level that gives a region the most of them.
fn most_markers(
    levels: impl Iterator<Item = BTreeMap<u32, Vec<(u32, Stretch)>>>,
) -> BTreeMap<u32, Markers> {
    let numbered = levels.map(|level| {
        let number = |(label, mut voxels): (u32, Vec<(u32, Stretch)>)| {
            let mut seen: BTreeMap<u32, u32> = BTreeMap::new();
            for (marker, _) in &mut voxels {
                let next = seen.len() as u32 + 1;
                *marker = *seen.entry(*marker).or_insert(next);
            }
            (label, (seen.len(), voxels))
        };
        level.into_iter().map(number).collect()
    });
    most(numbered.collect(), |(count, _)| *count)
        .into_iter()
        .map(|(label, (_, voxels))| (label, Markers::Given(voxels)))
        .collect()
}

/// Markers of single voxels; two on one voxel are one.
fn at_voxels(voxels: &[[usize; 3]]) -> Markers {
    let mut given: Vec<(u32, Stretch)> = Vec::with_capacity(voxels.len());
    for voxel in voxels {
        let stretch = Stretch::voxel(*voxel);
        if !given.iter().any(|(_, other)| *other == stretch) {
            given.push((given.len() as u32 + 1, stretch));
        }
    }
    Markers::Given(given)
}

/// The regions that have markers, in ascending order, with their voxels.
fn jobs(before: &Runs, count: u32, mut markers: BTreeMap<u32, Markers>) -> Vec<RegionToCut> {
    if markers.is_empty() {
        return Vec::new();
    }
    let height = before.size()[1];
    let mut members: BTreeMap<u32, Vec<Stretch>> =
        markers.keys().map(|label| (*label, Vec::new())).collect();
    for row in 0..before.rows() {
        for run in before.row(row) {
            if let Some(members) = members.get_mut(&run.label) {
                members.push(Stretch::of(row, *run, height));
            }
        }
    }
    let mut regions = before.regions(count);
    members
        .into_iter()
        .filter_map(|(label, members)| {
            let region = regions[label as usize - 1].take()?;
            let markers = markers.remove(&label)?;
            Some(RegionToCut { label, region, members, markers })
        })
        .collect()
}
