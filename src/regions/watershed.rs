//! Watershed: markers flood their surroundings, low values first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Connectivity;

/// The value with which a voxel waits in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueRule {
    /// That of the voxel from which the flood reached it, as ImageSegmentation.jl
    /// does: a flood goes on from a low voxel through a high neighbour before it
    /// goes on elsewhere.
    Previous,
    /// Its own, as usual (Meyer 1991; `skimage.segmentation.watershed`).
    Own,
}

/// A box of voxels to be flooded, with a rim of one voxel that no flood enters.
///
/// Voxels of equal value are taken in the order in which they were queued, and
/// neighbours are queued in scan order, so that the result depends on nothing else.
/// A label is final when it is given.
pub struct Flood {
    /// Depth, height and width with the rim.
    size: [usize; 3],
    /// Heights in an order that integers have.
    heights: Vec<u32>,
    /// Labels; [`BLOCKED`] where no flood goes.
    labels: Vec<u32>,
    /// Voxels whose label is wanted; empty when all are.
    wanted: Vec<bool>,
    wanted_left: usize,
}

/// Label of the rim and of voxels that are masked out.
const BLOCKED: u32 = u32::MAX;

/// A label whose markers flood before all others, whatever their heights, and which comes
/// first where heights are equal: what floods that are not known may reach at most.
pub const UNKNOWN: u32 = u32::MAX - 1;

/// The number from which on entries of known labels are counted.
const KNOWN: u32 = 1 << 31;

impl Flood {
    /// A box of which every voxel may be flooded, with heights of 0.
    pub fn new(size: [usize; 3]) -> Flood {
        let size = size.map(|n| n + 2);
        let [depth, height, width] = size;
        let voxels = size.iter().product();
        let mut labels = vec![BLOCKED; voxels];
        for z in 1..depth - 1 {
            for y in 1..height - 1 {
                let row = (z * height + y) * width;
                labels[row + 1..row + width - 1].fill(0);
            }
        }
        Flood {
            size,
            heights: vec![ordered(0.0); voxels],
            labels,
            wanted: Vec::new(),
            wanted_left: usize::MAX,
        }
    }

    /// Where row (z, y) of the box begins in the arrays.
    fn row(&self, z: usize, y: usize) -> usize {
        ((z + 1) * self.size[1] + y + 1) * self.size[2] + 1
    }

    /// Sets the heights of a row from `x` on. NaN is higher than every number.
    pub fn set_heights(&mut self, [z, y, x]: [usize; 3], heights: impl Iterator<Item = f32>) {
        let row = self.row(z, y) + x;
        for (to, height) in self.heights[row..].iter_mut().zip(heights) {
            *to = ordered(height);
        }
    }

    /// Keeps floods out of every voxel but those that [`Flood::allow`] lets in.
    pub fn block_all(&mut self) {
        self.labels.fill(BLOCKED);
    }

    /// Lets floods into a stretch of a row.
    pub fn allow(&mut self, [z, y, x]: [usize; 3], voxels: usize) {
        let row = self.row(z, y) + x;
        self.labels[row..row + voxels].fill(0);
    }

    /// Says that the labels of a stretch of a row are wanted: the flood ends when all
    /// that are wanted are known.
    pub fn want(&mut self, [z, y, x]: [usize; 3], voxels: usize) {
        if self.wanted.is_empty() {
            self.wanted = vec![false; self.labels.len()];
            self.wanted_left = 0;
        }
        let row = self.row(z, y) + x;
        self.wanted[row..row + voxels].fill(true);
        self.wanted_left += voxels;
    }

    /// Places a marker, unless its voxel has one. Labels count from 1.
    pub fn mark(&mut self, [z, y, x]: [usize; 3], label: u32) {
        let at = self.row(z, y) + x;
        if self.labels[at] == 0 {
            self.labels[at] = label;
            if self.wanted.get(at) == Some(&true) {
                self.wanted_left -= 1;
            }
        }
    }

    /// The labels of a row, 0 where no flood came.
    pub fn labels(&self, [z, y, x]: [usize; 3], voxels: usize) -> impl Iterator<Item = u32> {
        let row = self.row(z, y) + x;
        self.labels[row..row + voxels].iter().map(|&label| if label == BLOCKED { 0 } else { label })
    }

    /// Floods the box from its markers.
    ///
    /// # Panics
    /// If the box is too large ([`Flood::fits`]).
    pub fn run(&mut self, connectivity: Connectivity, rule: QueueRule) {
        assert!(self.labels.len() < KNOWN as usize, "a box of {:?}", self.size);
        let [_, height, width] = self.size;
        let steps: Vec<isize> = connectivity
            .steps()
            .iter()
            .map(|[z, y, x]| (z * height as isize + y) * width as isize + x)
            .collect();
        let mut queue = FloodQueue::default();
        let markers: Vec<u32> = (0..self.labels.len() as u32)
            .filter(|&at| !matches!(self.labels[at as usize], 0 | BLOCKED))
            .collect();
        for at in markers {
            let label = self.labels[at as usize];
            // Lower than every number.
            let value = if label == UNKNOWN { 0 } else { self.heights[at as usize] };
            match rule {
                QueueRule::Previous => {
                    self.spread(at, &steps, |next, _| queue.push(value, label, next));
                }
                QueueRule::Own => queue.push(value, label, at),
            }
        }
        while self.wanted_left > 0
            && let Some(at) = queue.pop()
        {
            let (own, label) = (self.heights[at as usize], self.labels[at as usize]);
            match rule {
                QueueRule::Previous => {
                    self.spread(at, &steps, |next, _| queue.push(own, label, next));
                }
                QueueRule::Own => {
                    self.spread(at, &steps, |next, height| queue.push(height, label, next));
                }
            }
        }
    }

    /// Whether a box of that size can be flooded.
    pub fn fits(size: [usize; 3]) -> bool {
        let voxels = size.iter().try_fold(1usize, |all, n| all.checked_mul(n.checked_add(2)?));
        voxels.is_some_and(|voxels| voxels < KNOWN as usize)
    }

    /// Gives the label of a voxel to its neighbours that have none, and calls `queue`
    /// with each of them and its height.
    fn spread(&mut self, at: u32, steps: &[isize], mut queue: impl FnMut(u32, u32)) {
        let label = self.labels[at as usize];
        for step in steps {
            // The rim keeps the index in the box.
            let next = (at as isize + step) as usize;
            if self.labels[next] == 0 {
                self.labels[next] = label;
                if self.wanted.get(next) == Some(&true) {
                    self.wanted_left -= 1;
                }
                queue(next as u32, self.heights[next]);
            }
        }
    }
}

/// Voxels that wait, the lowest first, of equals that which was queued first.
#[derive(Default)]
struct FloodQueue {
    /// Height and, below it, the number of the entry.
    heap: BinaryHeap<Reverse<u64>>,
    /// By number: the voxels of known labels, and those of [`UNKNOWN`].
    voxels: [Vec<u32>; 2],
}

impl FloodQueue {
    fn push(&mut self, height: u32, label: u32, voxel: u32) {
        let [known, unknown] = &mut self.voxels;
        let (voxels, first) = if label == UNKNOWN { (unknown, 0) } else { (known, KNOWN) };
        self.heap.push(Reverse(u64::from(height) << 32 | u64::from(first + voxels.len() as u32)));
        voxels.push(voxel);
    }

    fn pop(&mut self) -> Option<u32> {
        let Reverse(first) = self.heap.pop()?;
        let number = first as u32;
        Some(match number.checked_sub(KNOWN) {
            Some(known) => self.voxels[0][known as usize],
            None => self.voxels[1][number as usize],
        })
    }
}

/// Float32 as an integer of the same order; both zeros are one, NaN is the greatest.
fn ordered(value: f32) -> u32 {
    if value.is_nan() {
        return u32::MAX;
    }
    let bits = (value + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(heights: &[f32], markers: &[(usize, u32)], rule: QueueRule) -> Vec<u32> {
        let mut flood = Flood::new([1, 1, heights.len()]);
        flood.set_heights([0, 0, 0], heights.iter().copied());
        for &(x, label) in markers {
            flood.mark([0, 0, x], label);
        }
        flood.run(Connectivity::Faces6, rule);
        flood.labels([0, 0, 0], heights.len()).collect()
    }

    #[test]
    fn floods_meet_on_the_ridge() {
        let heights = [0.0, 1.0, 2.0, 5.0, 2.0, 0.0];
        let labels = line(&heights, &[(0, 1), (5, 2)], QueueRule::Own);
        assert_eq!(labels, [1, 1, 1, 2, 2, 2]);
    }

    #[test]
    fn the_rules_differ_behind_a_ridge() {
        // The left flood reaches the ridge at x = 2 either way. Waiting with the value of
        // the voxel before it, the ridge costs nothing and the flood goes on behind it;
        // waiting with its own, the right flood is there first.
        let heights = [0.0, 0.0, 9.0, 3.0, 3.0, 3.0, 1.0];
        let markers = [(0, 1), (6, 2)];
        assert_eq!(line(&heights, &markers, QueueRule::Own), [1, 1, 1, 2, 2, 2, 2]);
        assert_eq!(line(&heights, &markers, QueueRule::Previous), [1, 1, 1, 1, 2, 2, 2]);
    }

    #[test]
    fn blocked_voxels_are_walls_and_unwanted_ones_are_left() {
        let mut flood = Flood::new([1, 3, 4]);
        flood.block_all();
        for y in 0..3 {
            flood.allow([0, y, 0], 2);
        }
        flood.allow([0, 0, 3], 1);
        flood.mark([0, 0, 0], 7);
        flood.run(Connectivity::Corners26, QueueRule::Own);
        assert_eq!(flood.labels([0, 0, 0], 4).collect::<Vec<_>>(), [7, 7, 0, 0]);
        let mut flood = Flood::new([1, 1, 9]);
        flood.want([0, 0, 0], 3);
        flood.mark([0, 0, 1], 3);
        flood.run(Connectivity::Faces6, QueueRule::Own);
        assert_eq!(flood.labels([0, 0, 0], 9).collect::<Vec<_>>(), [3, 3, 3, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn the_unknown_label_comes_first() {
        let heights = [9.0, 1.0, 2.0, 2.0, 1.0, 0.0];
        let labels = line(&heights, &[(0, UNKNOWN), (5, 2)], QueueRule::Own);
        assert_eq!(labels, [UNKNOWN, UNKNOWN, UNKNOWN, 2, 2, 2]);
        // Of equal heights, too.
        let labels = line(&[1.0; 5], &[(0, 1), (4, UNKNOWN)], QueueRule::Own);
        assert_eq!(labels, [1, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN]);
        assert!(Flood::fits([1000, 1000, 1000]) && !Flood::fits([2000, 2000, 2000]));
    }

    #[test]
    fn floats_keep_their_order() {
        let values = [f32::NEG_INFINITY, -1.0, -1e-40, 0.0, 1e-40, 1.0, f32::INFINITY, f32::NAN];
        assert!(values.windows(2).all(|pair| ordered(pair[0]) < ordered(pair[1])));
        assert_eq!(ordered(-0.0), ordered(0.0));
    }
}
