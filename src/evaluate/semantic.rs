//! Scores of classes: how the voxels of a class agree with the truth.

use std::ops::Range;

use super::nearest::VoxelGridBuilder;
use super::surface::{SurfaceDistances, surface_distances};

/// The class of a voxel that is left out.
pub const IGNORED: u16 = u16::MAX;

/// Agreement of one class in one volume.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassScores {
    /// Voxels of the class in both, in the prediction alone and in the truth alone.
    pub both: u64,
    pub only_found: u64,
    pub only_truth: u64,
    /// `None` if the class is missing in one of the two, or if distances are not wanted.
    pub surface: Option<SurfaceDistances>,
}

impl ClassScores {
    /// 2 · both / (found + truth); `None` if the class is in neither.
    pub fn dice(&self) -> Option<f64> {
        ratio(2 * self.both, 2 * self.both + self.only_found + self.only_truth)
    }

    /// both / (found or truth); `None` if the class is in neither.
    pub fn iou(&self) -> Option<f64> {
        ratio(self.both, self.both + self.only_found + self.only_truth)
    }

    /// The share of what was found that is true; `None` if nothing was found.
    pub fn precision(&self) -> Option<f64> {
        ratio(self.both, self.both + self.only_found)
    }

    /// The share of the truth that was found; `None` if the truth has no voxel.
    pub fn recall(&self) -> Option<f64> {
        ratio(self.both, self.both + self.only_truth)
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Scores the classes of a volume (D, H, W) whose slices are added one after the other.
/// Voxels that are [`IGNORED`] in the truth are left out.
///
/// The surface of a class are its voxels with a face to a voxel of another; outside of the
/// volume is no class. An axis of one voxel has no such faces: a volume of one slice is
/// flat.
pub struct ClassScorer {
    size: [usize; 3],
    /// The first class that is scored.
    first: u16,
    /// Spacing (z, y, x) of the voxels, in whose unit surface distances are; without one
    /// they are not computed.
    spacing: Option<[f64; 3]>,
    /// By class, from the first that is scored on.
    classes: Vec<ClassTally>,
    /// The last two slices, the older one first: prediction and truth, both [`IGNORED`]
    /// where nothing is to be scored.
    last: [Option<[Vec<u16>; 2]>; 2],
    slices: usize,
    /// The highest class of either volume.
    most: u16,
}

/// What is counted of a class.
#[derive(Default)]
struct ClassTally {
    both: u64,
    only_found: u64,
    only_truth: u64,
    /// Surface voxels of prediction and truth.
    surfaces: [Option<VoxelGridBuilder>; 2],
}

impl ClassScorer {
    /// Begins the scores of a volume of that size.
    pub fn new(size: [usize; 3], first: u16, spacing: Option<[f64; 3]>) -> ClassScorer {
        let last = [None, None];
        ClassScorer { size, first, spacing, classes: Vec::new(), last, slices: 0, most: 0 }
    }

    /// Adds slices (d, H, W) behind those that came before.
    ///
    /// # Panics
    /// If these are no whole slices.
    pub fn add(&mut self, found: &[u16], truth: &[u16]) {
        let [_, height, width] = self.size;
        let plane = (height * width).max(1);
        assert!(found.len() == truth.len() && found.len().is_multiple_of(plane));
        for (found, truth) in found.chunks_exact(plane).zip(truth.chunks_exact(plane)) {
            self.count(found, truth);
            if self.spacing.is_some() {
                let ignored = |(class, truth): (&u16, &u16)| match *truth {
                    IGNORED => IGNORED,
                    _ => *class,
                };
                let found = found.iter().zip(truth).map(ignored).collect();
                self.surface(Some([found, truth.to_vec()]));
            }
            self.slices += 1;
        }
    }

    fn class(&mut self, class: u16) -> Option<&mut ClassTally> {
        let index = usize::from(class.checked_sub(self.first)?);
        if index >= self.classes.len() {
            self.classes.resize_with(index + 1, ClassTally::default);
        }
        self.classes.get_mut(index)
    }

    /// Counts the voxels of a slice.
    fn count(&mut self, found: &[u16], truth: &[u16]) {
        let mut start = 0;
        while start < found.len() {
            // Most voxels continue a stretch of equal classes.
            let (one, other) = (found[start], truth[start]);
            let rest = found[start..].iter().zip(&truth[start..]);
            let length = rest.take_while(|(a, b)| **a == one && **b == other).count();
            let voxels = length as u64;
            start += length;
            self.most = self.most.max(one);
            if other == IGNORED {
                continue;
            }
            self.most = self.most.max(other);
            if one == other {
                self.class(one).into_iter().for_each(|class| class.both += voxels);
            } else {
                self.class(one).into_iter().for_each(|class| class.only_found += voxels);
                self.class(other).into_iter().for_each(|class| class.only_truth += voxels);
            }
        }
    }

    /// Finds the surfaces of the last slice, whose next one is known now: `None` for the
    /// end of the volume.
    fn surface(&mut self, next: Option<[Vec<u16>; 2]>) {
        let [before, here] = std::mem::take(&mut self.last);
        if let Some(here) = &here {
            let z = self.slices - 1;
            for side in 0..2 {
                let [before, next] =
                    [&before, &next].map(|slice| slice.as_ref().map(|slice| &slice[side][..]));
                self.surface_of(side, z, &here[side], before, next);
            }
        }
        self.last = [here, next];
    }

    fn surface_of(
        &mut self,
        side: usize,
        z: usize,
        here: &[u16],
        before: Option<&[u16]>,
        next: Option<&[u16]>,
    ) {
        let size @ [depth, height, width] = self.size;
        let Some(spacing) = self.spacing else { return };
        let single = size == [1; 3];
        let mut found: Vec<(u16, [usize; 3])> = Vec::new();
        for y in 0..height {
            let row = y * width;
            for x in 0..width {
                let at = row + x;
                let class = here[at];
                if class < self.first || class == IGNORED {
                    continue;
                }
                let other = |slice: Option<&[u16]>| slice.is_none_or(|slice| slice[at] != class);
                let edge = (width > 1
                    && (x == 0
                        || x + 1 == width
                        || here[at - 1] != class
                        || here[at + 1] != class))
                    || (height > 1
                        && (y == 0
                            || y + 1 == height
                            || here[at - width] != class
                            || here[at + width] != class))
                    || (depth > 1 && (other(before) || other(next)))
                    // A single voxel is its own surface.
                    || single;
                if edge {
                    found.push((class, [z, y, x]));
                }
            }
        }
        for (class, place) in found {
            if let Some(tally) = self.class(class) {
                let grid = &mut tally.surfaces[side];
                grid.get_or_insert_with(|| VoxelGridBuilder::new(size, spacing)).add(place);
            }
        }
    }

    /// The highest class that was added.
    pub fn most(&self) -> u16 {
        self.most
    }

    /// The scores of some classes, from the first that is scored on.
    pub fn finish(mut self, classes: Range<u16>) -> Vec<ClassScores> {
        self.surface(None);
        self.classes.resize_with(classes.len(), ClassTally::default);
        let scores = self.classes.into_iter().map(|tally| {
            let ClassTally { both, only_found, only_truth, surfaces } = tally;
            let [found, truth] = surfaces.map(|builder| builder.and_then(VoxelGridBuilder::finish));
            let surface = surface_distances(found.as_ref(), truth.as_ref());
            ClassScores { both, only_found, only_truth, surface }
        });
        scores.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_scores(
        found: &[u16],
        truth: &[u16],
        size: [usize; 3],
        classes: Range<u16>,
        spacing: [f64; 3],
    ) -> Vec<ClassScores> {
        let mut scorer = ClassScorer::new(size, classes.start, Some(spacing));
        scorer.add(found, truth);
        scorer.finish(classes)
    }

    #[test]
    fn classes_are_counted_apart() {
        let found = [0, 1, 1, 2, 2, 2, 0, 1];
        let truth = [0, 1, 2, 2, 2, 0, 1, IGNORED];
        let scores = class_scores(&found, &truth, [1, 2, 4], 1..4, [1.0; 3]);
        assert_eq!((scores[0].both, scores[0].only_found, scores[0].only_truth), (1, 1, 1));
        assert_eq!(scores[0].dice(), Some(0.5));
        assert_eq!((scores[1].both, scores[1].only_found, scores[1].only_truth), (2, 1, 1));
        assert_eq!(scores[1].iou(), Some(0.5));
        assert_eq!(scores[1].precision(), Some(2.0 / 3.0));
        assert!(scores[1].surface.is_some());
        // A class that is nowhere has no score.
        assert_eq!((scores[2].dice(), scores[2].recall(), scores[2].surface), (None, None, None));
    }

    #[test]
    fn a_class_of_the_prediction_alone_scores_zero_and_has_no_distance() {
        let scores = class_scores(&[1, 0, 0], &[0, 0, 0], [1, 1, 3], 1..2, [1.0; 3]);
        assert_eq!((scores[0].dice(), scores[0].precision()), (Some(0.0), Some(0.0)));
        assert_eq!((scores[0].recall(), scores[0].surface), (None, None));
    }

    /// How many voxels of class 1 are on the surface.
    fn surface(class: &[u16], size: [usize; 3]) -> usize {
        let mut scorer = ClassScorer::new(size, 1, Some([1.0; 3]));
        scorer.add(class, class);
        scorer.surface(None);
        let grid = scorer.classes.swap_remove(0).surfaces[0].take().unwrap().finish().unwrap();
        grid.len()
    }

    #[test]
    fn surfaces_have_a_face_outside() {
        assert_eq!(surface(&[1; 27], [3, 3, 3]), 26);
        // In a flat volume the faces along z do not count.
        assert_eq!(surface(&[1; 9], [1, 3, 3]), 8);
        assert_eq!(surface(&[1], [1, 1, 1]), 1);
        let mut plate = [0; 27];
        plate[9..18].fill(1);
        assert_eq!(surface(&plate, [3, 3, 3]), 9);
    }

    #[test]
    fn distances_are_measured_with_the_spacing() {
        let row = |at: usize| (0..6).map(|x| u16::from(x == at)).collect::<Vec<_>>();
        let (a, b) = (row(1), row(4));
        let scores = class_scores(&a, &b, [1, 1, 6], 1..2, [9.0, 9.0, 0.5]);
        let expected = SurfaceDistances { hausdorff95: 1.5, average: 1.5 };
        assert_eq!(scores[0].surface, Some(expected));
        assert_eq!(class_scores(&a, &row(9), [1, 1, 6], 1..2, [1.0; 3])[0].surface, None);
    }
}
