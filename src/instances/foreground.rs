//! Regions of a probability above a threshold.

use std::ops::Range;

use anyhow::Result;

use crate::regions::runs::{limit, stretches_above};
use crate::regions::{Connectivity, Region, Run, Runs};
use crate::runtime::threads;

use super::plan::Foreground;
use super::planes::{Planes, slabs};

/// Values of a probability that are none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Strange {
    pub nan: u64,
    pub below_zero: u64,
    pub above_one: u64,
}

impl Strange {
    /// Counts those of a row.
    pub fn count(&mut self, row: &[f32]) {
        // Most rows are in order, which is quickly seen.
        if row.iter().fold(true, |fine, value| fine & (*value >= 0.0) & (*value <= 1.0)) {
            return;
        }
        for value in row {
            self.nan += u64::from(value.is_nan());
            self.below_zero += u64::from(*value < 0.0);
            self.above_one += u64::from(*value > 1.0);
        }
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: Strange) {
        self.nan += other.nan;
        self.below_zero += other.below_zero;
        self.above_one += other.above_one;
    }
}

/// The voxels above each of some thresholds, as runs of label 1. The volume is read
/// once.
pub fn above(
    planes: &dyn Planes,
    thresholds: &[f64],
    threads: usize,
) -> Result<(Vec<Runs>, Strange)> {
    let size = planes.size();
    let [_, height, width] = size;
    let limits: Vec<f32> = thresholds.iter().map(|threshold| limit(*threshold)).collect();
    let mut found: Vec<Runs> = limits.iter().map(|_| Runs::begin(size)).collect();
    let mut strange = Strange::default();
    for slices in slabs(planes) {
        let values = planes.read(slices)?;
        let rows = values.len() / width.max(1);
        let share = rows.div_ceil(threads.max(1)).max(height) * width;
        let parts = values.chunks(share.max(1)).collect();
        for (runs, counts) in threads::map(parts, threads, |part| rows_above(part, size, &limits)) {
            strange.add(counts);
            found.iter_mut().zip(runs).for_each(|(found, runs)| found.append(runs));
        }
    }
    Ok((found, strange))
}

fn rows_above(values: &[f32], size: [usize; 3], limits: &[f32]) -> (Vec<Runs>, Strange) {
    let mut found: Vec<Runs> = limits.iter().map(|_| Runs::begin([0, size[1], size[2]])).collect();
    let mut strange = Strange::default();
    let lowest = limits.iter().copied().fold(f32::INFINITY, f32::min);
    let (mut outer, mut runs) = (Vec::new(), Vec::new());
    for row in values.chunks_exact(size[2].max(1)) {
        strange.count(row);
        outer.clear();
        stretches_above(row, lowest, |start, end| outer.push((start, end)));
        for (found, &limit) in found.iter_mut().zip(limits) {
            runs.clear();
            // A higher threshold is exceeded only where a lower one is.
            for &(start, end) in &outer {
                stretches_above(&row[start..end], limit, |from, to| {
                    let (start, end) = ((start + from) as u32, (start + to) as u32);
                    runs.push(Run { start, end, label: 1 });
                });
            }
            found.push_row(runs.iter().copied());
        }
    }
    (found, strange)
}

/// Adds the cavities of a mask to it: parts of its complement, connected by faces,
/// that touch no face of the volume, as `scipy.ndimage.binary_fill_holes`.
pub fn fill_cavities(mask: &Runs) -> Runs {
    let mut outside = mask.complement();
    let count = outside.label(Connectivity::Faces6);
    let size = mask.size();
    let cavity = |region: &Option<Region>| {
        u32::from(region.as_ref().is_some_and(|region| !region.touches_border(size)))
    };
    let table: Vec<u32> =
        [0].into_iter().chain(outside.regions(count).iter().map(cavity)).collect();
    outside.relabel(&table);
    mask.union(&outside)
}

/// Numbers the regions of a mask from 1 in scan order, without those that the plan
/// leaves out; returns how many there are.
pub fn regions(mask: Runs, plan: &Foreground) -> (Runs, u32) {
    let size = mask.size();
    let mut runs = if plan.fill { fill_cavities(&mask) } else { mask };
    let background = if plan.original {
        let mut complement = runs.complement();
        complement.relabel(&[0, 2]);
        runs = runs.union(&complement);
        true
    } else {
        false
    };
    let count = runs.label(plan.connectivity);
    let found = runs.regions(count);
    // The largest; of equals the one that ends first.
    let background = found
        .iter()
        .flatten()
        .enumerate()
        .filter(|_| background)
        .min_by_key(|(_, region)| (std::cmp::Reverse(region.voxels), region.last))
        .map(|(index, _)| index);
    let sizes: Range<u64> = plan.min_size..plan.max_size.map_or(u64::MAX, |most| most + 1);
    let mut kept = 0;
    let mut table = vec![0; count as usize + 1];
    for (index, region) in found.iter().flatten().enumerate() {
        if Some(index) != background
            && sizes.contains(&region.voxels)
            && !(plan.drop_border && region.touches_border(size))
        {
            kept += 1;
            table[index + 1] = kept;
        }
    }
    runs.relabel(&table);
    (runs, kept)
}
