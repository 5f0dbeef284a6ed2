//! PlantSeg's watershed of a boundary map that is too large to be flooded in one piece: the
//! same cells, block by block.
//!
//! A block is flooded together with a halo around it, and what the rest of the volume may do
//! is not known. So every voxel whose height or seed depends on voxels beyond the halo is
//! taken as flooded by an unknown cell from the beginning, and of two floods of equal height
//! that of the unknown comes first. No flood of the real volume can then be earlier than the
//! unknown one in the block, so that every voxel which the unknown one does not reach has the
//! cell that it has in one piece. If it reaches the block itself, the halo was too thin, and
//! the block is flooded again with a thicker one.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};

use crate::regions::maxima::local_maxima;
use crate::regions::watershed::UNKNOWN;
use crate::regions::{Connectivity, Flood, QueueRule, Runs, distance_to};
use crate::resample::gaussian::{Edge, gaussian_filter, weights};
use crate::runtime::threads;

use super::boundary::{boundary_of, mix};
use super::label_scratch::{Box3, LabelScratch, size_of_box, voxels_of};
use super::plan::Boundary;
use super::planes::Planes;

/// Bytes that a voxel of a block takes while it is flooded, about.
pub const BYTES: usize = 40;

/// Voxels of a block with its halo at least, whatever the memory.
const LEAST_VOXELS: usize = 1 << 18;

/// A core is not divided below this length along any axis.
const LEAST_CORE: usize = 8;

/// What the blocks of a volume have in common.
pub struct BoundaryBlocks<'a> {
    plan: &'a Boundary,
    planes: &'a dyn Planes,
    spacing: [f64; 3],
    threads: usize,
    /// Voxels of a block with its halo, at most.
    most: usize,
    /// Voxels of the halo that is tried first.
    halo: usize,
    scratch: &'a Path,
    /// Least and largest smoothed distance, if the heights depend on them.
    distances: [f32; 2],
}

/// A block at work: its core within a larger box.
struct Block {
    core: Box3,
    outer: Box3,
}

/// What is known of the voxels of a block.
struct Fields {
    /// The smoothed distance to the boundary, and where it is not known.
    distance: Vec<f32>,
    unsure: Vec<bool>,
    probability: Vec<f32>,
}

/// What a pass does with a block: `false` if the halo is too thin, so that nothing was done.
type Work<'w> = dyn Fn(&Block) -> Result<bool> + Sync + 'w;

impl<'a> BoundaryBlocks<'a> {
    /// Blocks that take so many bytes of memory in all; files without a name hold the labels
    /// in the folder `scratch` meanwhile.
    pub fn new(
        plan: &'a Boundary,
        planes: &'a dyn Planes,
        spacing: [f64; 3],
        threads: usize,
        memory: usize,
        scratch: &'a Path,
    ) -> BoundaryBlocks<'a> {
        let most = (memory / BYTES / threads.max(1)).max(LEAST_VOXELS);
        let distances = [0.0, 1.0];
        // Cells are seldom smaller than what smooths them.
        let halo = 4 * margin(plan);
        BoundaryBlocks { plan, planes, spacing, threads, most, halo, scratch, distances }
    }

    /// Numbers the cells in scan order, as [`super::boundary::boundary_regions`] does.
    ///
    /// # Errors
    /// Images and files that cannot be read or written, and cells that are too large for the
    /// memory.
    pub fn run(mut self) -> Result<(Runs, u32)> {
        if self.plan.alpha < 1.0 {
            self.distances = self.range_of_distances()?;
        }
        let size = self.planes.size();
        let first = LabelScratch::new(self.scratch, size)?;
        let names: Mutex<HashMap<u64, u32>> = Mutex::default();
        self.each_block(&|block| self.flood_seeds(block, &first, &names))?;
        let count = names.into_inner().unwrap_or_else(PoisonError::into_inner).len();

        let mut voxels = vec![0u64; count + 1];
        first.each_slice(|labels| {
            labels.iter().for_each(|label| voxels[*label as usize] += 1);
            Ok(())
        })?;
        let large: Vec<bool> = voxels.iter().map(|voxels| *voxels >= self.plan.min_size).collect();
        let small = large[1..].iter().filter(|large| !**large).count();
        let last = if small == 0 || small == count {
            first
        } else {
            let second = LabelScratch::new(self.scratch, size)?;
            self.each_block(&|block| self.flood_small(block, &first, &second, &large))?;
            second
        };
        let mut numbers = vec![0u32; count + 1];
        let mut next = 0;
        let mut runs = Runs::begin(size);
        last.each_slice(|labels| {
            for label in labels.iter_mut() {
                let number = &mut numbers[*label as usize];
                if *number == 0 {
                    next += 1;
                    *number = next;
                }
                *label = *number;
            }
            runs.append(Runs::of_labels(labels, [1, size[1], size[2]]));
            Ok(())
        })?;
        Ok((runs, next))
    }

    /// Calls `work` for blocks that cover the volume, on all threads.
    fn each_block(&self, work: &Work<'_>) -> Result<()> {
        let halo = self.halo;
        let mut cores = Vec::new();
        self.divide(self.planes.size().map(|n| 0..n), halo, &mut cores)?;
        threads::for_each(cores, self.threads, |(): &mut (), core| self.solve(core, halo, work))
    }

    /// Works on a core with a halo that is made thicker as long as it is too thin.
    fn solve(&self, core: Box3, halo: usize, work: &Work<'_>) -> Result<()> {
        let mut cores = Vec::new();
        self.divide(core, halo, &mut cores)?;
        for core in cores {
            let outer = self.grown(&core, halo);
            if !work(&Block { core: core.clone(), outer })? {
                self.solve(core, halo * 2, work)?;
            }
        }
        Ok(())
    }

    /// Halves a core until it fits into the memory with its halo.
    fn divide(&self, core: Box3, halo: usize, cores: &mut Vec<Box3>) -> Result<()> {
        if voxels_of(&self.grown(&core, halo)) <= self.most {
            cores.push(core);
            return Ok(());
        }
        let longest = (0..3).max_by_key(|axis| core[*axis].len()).unwrap_or(0);
        if core[longest].len() < 2 * LEAST_CORE {
            bail!(
                "cells of more than {} voxels' extent (or places without any boundary) do not fit \
                 into blocks of the present --memory: give more of it, or cut slice by slice with \
                 --slices",
                halo / 2
            );
        }
        let middle = core[longest].start + core[longest].len() / 2;
        let (mut one, mut other) = (core.clone(), core);
        one[longest].end = middle;
        other[longest].start = middle;
        self.divide(one, halo, cores)?;
        self.divide(other, halo, cores)
    }

    fn grown(&self, core: &Box3, halo: usize) -> Box3 {
        let size = self.planes.size();
        [0, 1, 2].map(|axis| {
            core[axis].start.saturating_sub(halo)..(core[axis].end + halo).min(size[axis])
        })
    }

    /// How far a place of the outer box is from the nearest of its faces that is none of the
    /// volume's, in voxels along each axis: 0 on the face.
    fn inward(&self, outer: &Box3, axis: usize, at: usize) -> usize {
        let size = self.planes.size()[axis];
        let range = &outer[axis];
        let before = if range.start == 0 { usize::MAX } else { at };
        let behind = if range.end == size { usize::MAX } else { range.len() - 1 - at };
        before.min(behind)
    }

    /// Calls `each` with the index and the place of every voxel of a box.
    fn each_place(size: [usize; 3], mut each: impl FnMut(usize, [usize; 3])) {
        let mut at = 0;
        for z in 0..size[0] {
            for y in 0..size[1] {
                for x in 0..size[2] {
                    each(at, [z, y, x]);
                    at += 1;
                }
            }
        }
    }

    fn sigmas(&self, sigma: f64) -> [f64; 3] {
        // A gaussian does not smooth along an axis of one voxel.
        self.planes.size().map(|n| if n == 1 { 0.0 } else { sigma })
    }

    fn fields(&self, outer: &Box3) -> Result<Fields> {
        let size = size_of_box(outer);
        let probability = self.planes.read_box(outer)?;
        let boundary = boundary_of(&probability, self.plan.threshold);
        let mut distance = distance_to(&boundary, size, self.spacing);
        drop(boundary);
        // A boundary voxel beyond the box may be nearer than the nearest one within.
        let inward: [Vec<usize>; 3] =
            [0, 1, 2].map(|axis| (0..size[axis]).map(|at| self.inward(outer, axis, at)).collect());
        let mut unsure = vec![false; distance.len()];
        Self::each_place(size, |at, place| {
            let beyond = (0..3)
                .map(|axis| match inward[axis][place[axis]] {
                    usize::MAX => f64::INFINITY,
                    inward => (inward + 1) as f64 * self.spacing[axis],
                })
                .fold(f64::INFINITY, f64::min);
            let known = f64::from(distance[at]);
            unsure[at] = if known.is_infinite() { beyond.is_finite() } else { known > beyond };
        });
        let reach = (weights(self.plan.sigma_seeds).len() - 1).max(1);
        widen(&mut unsure, size, reach);
        Self::each_place(size, |at, place| {
            unsure[at] |= (0..3).any(|axis| inward[axis][place[axis]] < reach);
        });
        // Numbers that stand for no distance at all must not spread.
        distance.iter_mut().filter(|distance| distance.is_infinite()).for_each(|d| *d = 0.0);
        gaussian_filter(&mut distance, size, self.sigmas(self.plan.sigma_seeds), Edge::Reflect);
        Ok(Fields { distance, unsure, probability })
    }

    /// The least and the largest smoothed distance of the volume.
    fn range_of_distances(&self) -> Result<[f32; 2]> {
        let range = Mutex::new([f32::INFINITY, f32::NEG_INFINITY]);
        self.each_block(&|block| {
            let Fields { distance, unsure, .. } = self.fields(&block.outer)?;
            let mut found = [f32::INFINITY, f32::NEG_INFINITY];
            let mut known = true;
            block.each_core(|at, _| {
                known &= !unsure[at];
                found = [found[0].min(distance[at]), found[1].max(distance[at])];
            });
            if known {
                let mut range = range.lock().unwrap_or_else(PoisonError::into_inner);
                *range = [range[0].min(found[0]), range[1].max(found[1])];
            }
            Ok(known)
        })?;
        Ok(range.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// A box with its heights, and where they are not known.
    fn flood_of(&self, block: &Block, fields: Fields) -> Flood {
        let size = size_of_box(&block.outer);
        let Fields { distance, mut probability, .. } = fields;
        probability.iter_mut().filter(|p| p.is_nan()).for_each(|p| *p = 0.0);
        gaussian_filter(
            &mut probability,
            size,
            self.sigmas(self.plan.sigma_weights),
            Edge::Reflect,
        );
        if self.plan.alpha < 1.0 {
            mix(&mut probability, &distance, self.plan.alpha, self.distances);
        }
        let mut flood = Flood::new(size);
        for (row, heights) in probability.chunks_exact(size[2]).enumerate() {
            flood.set_heights([row / size[1], row % size[1], 0], heights.iter().copied());
        }
        flood
    }

    /// Calls `each` with every voxel of a box: its index, its place, and whether its height
    /// depends on voxels beyond the box.
    fn each_voxel(&self, outer: &Box3, mut each: impl FnMut(usize, [usize; 3], bool)) {
        let size = size_of_box(outer);
        let reach = margin(self.plan);
        let near: [Vec<bool>; 3] = [0, 1, 2]
            .map(|axis| (0..size[axis]).map(|at| self.inward(outer, axis, at) < reach).collect());
        Self::each_place(size, |at, place| {
            each(at, place, (0..3).any(|axis| near[axis][place[axis]]));
        });
    }

    /// Floods a block from the maxima of the distance.
    fn flood_seeds(
        &self,
        block: &Block,
        labels: &LabelScratch,
        names: &Mutex<HashMap<u64, u32>>,
    ) -> Result<bool> {
        let size = size_of_box(&block.outer);
        let mut fields = self.fields(&block.outer)?;
        let maxima = local_maxima(&fields.distance, None, size, Connectivity::Corners26);
        let whole = block.outer == self.planes.size().map(|n| 0..n);
        if !whole {
            spread_doubt(&fields.distance, &mut fields.unsure, size);
        }
        let unsure = std::mem::take(&mut fields.unsure);
        let mut flood = self.flood_of(block, fields);
        let place = |at: usize| [at / (size[1] * size[2]), at / size[2] % size[1], at % size[2]];
        self.each_voxel(&block.outer, |at, voxel, near| {
            if unsure[at] || near {
                flood.mark(voxel, UNKNOWN);
            }
        });
        // What is unknown in a part of a maximum is unknown in all of it.
        let known = |voxels: &[u32]| voxels.iter().all(|voxel| !unsure[*voxel as usize]);
        for (maximum, label) in maxima.iter().zip(1..) {
            let label = if known(&maximum.voxels) { label } else { UNKNOWN };
            maximum.voxels.iter().for_each(|voxel| flood.mark(place(*voxel as usize), label));
        }
        flood.run(self.plan.connectivity, QueueRule::Own);
        let Some(found) = block.core_labels(&flood) else { return Ok(false) };
        // A cell is known in all blocks by the first voxel of its maximum.
        let [_, height, width] = self.planes.size();
        let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut numbers: HashMap<u32, u32> = HashMap::new();
        let named: Vec<u32> = found
            .into_iter()
            .map(|label| {
                *numbers.entry(label).or_insert_with(|| {
                    let within = place(maxima[label as usize - 1].voxels[0] as usize);
                    let [z, y, x] = [0, 1, 2].map(|axis| within[axis] + block.outer[axis].start);
                    let next = names.len() as u32 + 1;
                    *names.entry(((z * height + y) * width + x) as u64).or_insert(next)
                })
            })
            .collect();
        drop(names);
        labels.write(&block.core, &named)?;
        Ok(true)
    }

    /// Floods what small cells held from the large ones.
    fn flood_small(
        &self,
        block: &Block,
        before: &LabelScratch,
        after: &LabelScratch,
        large: &[bool],
    ) -> Result<bool> {
        let core = before.read(&block.core)?;
        if core.iter().all(|label| large[*label as usize]) {
            after.write(&block.core, &core)?;
            return Ok(true);
        }
        let mut fields = match self.plan.alpha < 1.0 {
            true => self.fields(&block.outer)?,
            false => Fields {
                distance: Vec::new(),
                unsure: Vec::new(),
                probability: self.planes.read_box(&block.outer)?,
            },
        };
        let unsure = std::mem::take(&mut fields.unsure);
        let mut flood = self.flood_of(block, fields);
        let labels = before.read(&block.outer)?;
        self.each_voxel(&block.outer, |at, voxel, near| {
            let label = labels[at];
            if near || unsure.get(at) == Some(&true) {
                flood.mark(voxel, UNKNOWN);
            } else if large[label as usize] {
                flood.mark(voxel, label);
            }
        });
        drop(labels);
        flood.run(self.plan.connectivity, QueueRule::Own);
        let Some(found) = block.core_labels(&flood) else { return Ok(false) };
        after.write(&block.core, &found)?;
        Ok(true)
    }
}

/// Voxels from the edge of a block on whose heights depend on what is beyond.
fn margin(plan: &Boundary) -> usize {
    let reach = |sigma: f64| weights(sigma).len() - 1;
    reach(plan.sigma_weights).max(reach(plan.sigma_seeds)).max(1)
}

impl Block {
    /// Calls `each` with every voxel of the core: its index in the outer box and its place
    /// there.
    fn each_core(&self, mut each: impl FnMut(usize, [usize; 3])) {
        let [_, height, width] = size_of_box(&self.outer);
        let within = |axis: usize| {
            let start = self.outer[axis].start;
            self.core[axis].start - start..self.core[axis].end - start
        };
        for z in within(0) {
            for y in within(1) {
                for x in within(2) {
                    each((z * height + y) * width + x, [z, y, x]);
                }
            }
        }
    }

    /// The labels of the core; `None` if one of them is not known.
    fn core_labels(&self, flood: &Flood) -> Option<Vec<u32>> {
        let start = |axis: usize| self.core[axis].start - self.outer[axis].start;
        let [depth, height, width] = size_of_box(&self.core);
        let mut labels = Vec::with_capacity(depth * height * width);
        for z in 0..depth {
            for y in 0..height {
                labels.extend(flood.labels([z + start(0), y + start(1), start(2)], width));
            }
        }
        labels.iter().all(|label| *label != UNKNOWN && *label != 0).then_some(labels)
    }
}

/// Makes all voxels that are at most `reach` away from one that is set, along every axis, set
/// as well.
fn widen(set: &mut [bool], size: [usize; 3], reach: usize) {
    let steps = [size[1] * size[2], size[2], 1];
    for axis in 0..3 {
        let (length, step) = (size[axis], steps[axis]);
        let mut last: Vec<Option<usize>> = vec![None; length];
        for first in 0..set.len() {
            if first / step % length != 0 {
                continue;
            }
            // The nearest one before each place, then the nearest one behind it.
            let mut before = None;
            for (at, last) in last.iter_mut().enumerate() {
                if set[first + at * step] {
                    before = Some(at);
                }
                *last = before;
            }
            let mut behind: Option<usize> = None;
            for at in (0..length).rev() {
                if last[at] == Some(at) {
                    behind = Some(at);
                }
                let near = |other: Option<usize>| other.is_some_and(|o| o.abs_diff(at) <= reach);
                set[first + at * step] = near(last[at]) || near(behind);
            }
        }
    }
}

/// A voxel beside one of unknown distance may be part of a maximum or not, and so may all
/// voxels of its distance that are connected with it. Those of distance 0 are none.
fn spread_doubt(distance: &[f32], unsure: &mut [bool], size: [usize; 3]) {
    let [depth, height, width] = size;
    let steps = Connectivity::Corners26.steps();
    let neighbours = |at: usize| {
        let place = [at / (height * width), at / width % height, at % width];
        steps.iter().filter_map(move |step| {
            let [z, y, x] = [0, 1, 2].map(|axis| place[axis].checked_add_signed(step[axis]));
            let (z, y, x) = (z?, y?, x?);
            (z < depth && y < height && x < width).then_some((z * height + y) * width + x)
        })
    };
    let mut beside = unsure.to_vec();
    widen(&mut beside, size, 1);
    let mut waiting: Vec<usize> =
        (0..unsure.len()).filter(|&at| beside[at] && !unsure[at] && distance[at] > 0.0).collect();
    drop(beside);
    waiting.iter().for_each(|&at| unsure[at] = true);
    while let Some(at) = waiting.pop() {
        for next in neighbours(at) {
            if !unsure[next] && distance[next] == distance[at] {
                unsure[next] = true;
                waiting.push(next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instances::InMemory;
    use crate::instances::boundary::boundary_regions;

    /// Walls between cells of random centres in a volume, and noise.
    fn walls(size: [usize; 3], apart: usize) -> Vec<f32> {
        let mut state = 5u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        let cells = size.map(|n| n.div_ceil(apart) + 2);
        let centres: Vec<[f32; 3]> =
            (0..cells.iter().product()).map(|_| [random(), random(), random()]).collect();
        let mut volume = Vec::with_capacity(size.iter().product());
        for z in 0..size[0] {
            for y in 0..size[1] {
                for x in 0..size[2] {
                    let place = [z, y, x].map(|n| n as f32 / apart as f32 + 1.0);
                    let mut near = [f32::INFINITY; 2];
                    for step in 0..27 {
                        let [i, j, k] = [step / 9, step / 3 % 3, step % 3];
                        let cell = [i, j, k];
                        let cell: [usize; 3] = std::array::from_fn(|axis| {
                            (place[axis] as usize + cell[axis]).max(1) - 1
                        });
                        let cell: [usize; 3] =
                            std::array::from_fn(|axis| cell[axis].min(cells[axis] - 1));
                        let offset = centres[(cell[0] * cells[1] + cell[1]) * cells[2] + cell[2]];
                        let square: f32 = (0..3)
                            .map(|axis| (cell[axis] as f32 + offset[axis] - place[axis]).powi(2))
                            .sum();
                        let distance = square.sqrt() * apart as f32;
                        if distance < near[0] {
                            near = [distance, near[0]];
                        } else if distance > near[0] && distance < near[1] {
                            near[1] = distance;
                        }
                    }
                    let wall = (-(near[1] - near[0]).powi(2) / 4.0).exp();
                    volume.push((wall + 0.1 * random()).min(1.0));
                }
            }
        }
        volume
    }

    #[test]
    fn blocks_have_the_cells_of_one_piece() {
        let folder = tempfile::tempdir().unwrap();
        for (size, most, apart, spacing, alpha, min_size, coarse) in [
            ([20, 70, 100], 90_000, 9, [1.0; 3], 1.0, 100, false),
            ([20, 70, 100], 90_000, 9, [2.0, 1.0, 0.7], 0.7, 200, false),
            // Bytes have plateaus.
            ([1, 260, 300], 14_000, 9, [1.0; 3], 1.0, 20, true),
            // Cells that reach through the first halo.
            ([1, 430, 400], 60_000, 36, [1.0; 3], 1.0, 400, false),
            ([1, 430, 400], 60_000, 36, [1.0; 3], 1.0, 400, true),
        ] {
            let mut volume = walls(size, apart);
            if coarse {
                volume.iter_mut().for_each(|p| *p = (*p * 4.0).round() / 4.0);
            }
            let plan = Boundary { alpha, min_size, ..Boundary::default() };
            let whole = boundary_regions(&plan, &volume, size, spacing);
            assert!(whole.1 > 20, "{}", whole.1);
            let planes = InMemory::new(&volume, size);
            for threads in [1, 2] {
                let mut blocks =
                    BoundaryBlocks::new(&plan, &planes, spacing, threads, 0, folder.path());
                (blocks.most, blocks.halo) = (most, 24);
                let found = blocks.run().unwrap();
                assert!(found == whole, "{size:?} {alpha} {threads}: {} {}", found.1, whole.1);
            }
        }
    }

    #[test]
    fn cells_that_do_not_fit_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let size = [80, 80, 80];
        let mut volume = vec![0.0; 80 * 80 * 80];
        volume[0] = 1.0;
        let plan = Boundary::default();
        let planes = InMemory::new(&volume, size);
        let blocks = BoundaryBlocks::new(&plan, &planes, [1.0; 3], 1, 0, folder.path());
        let fault = blocks.run().unwrap_err().to_string();
        assert!(fault.contains("--memory") && fault.contains("--slices"), "{fault}");
    }

    #[test]
    fn sets_are_widened_along_all_axes() {
        let mut set = vec![false; 5 * 6];
        set[2 * 6 + 3] = true;
        widen(&mut set, [1, 5, 6], 1);
        let there: Vec<usize> = (0..30).filter(|at| set[*at]).collect();
        assert_eq!(there, [8, 9, 10, 14, 15, 16, 20, 21, 22]);
    }
}
