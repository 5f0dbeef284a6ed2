//! Scores of classes: how the voxels of a class agree with the truth.

use super::surface::{Boxed, SurfaceDistances, surface_distances};

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

/// Scores the classes `classes` of a volume (D, H, W) whose voxels have one class each.
/// Voxels that are [`IGNORED`] in the truth are left out. Surface distances are in the
/// unit of the spacing (z, y, x), without one they are not computed.
///
/// # Panics
/// If the volumes do not have that size.
pub fn class_scores(
    found: &[u16],
    truth: &[u16],
    size: [usize; 3],
    classes: std::ops::Range<u16>,
    spacing: Option<[f64; 3]>,
) -> Vec<ClassScores> {
    assert!(found.len() == truth.len() && found.len() == size.iter().product::<usize>());
    let count = classes.len();
    let mut scores =
        vec![ClassScores { both: 0, only_found: 0, only_truth: 0, surface: None }; count];
    let mut boxes = vec![Extent::default(); count];
    let [_, height, width] = size;
    let index = |class: u16| classes.contains(&class).then(|| usize::from(class - classes.start));
    let rows = found.chunks_exact(width.max(1)).zip(truth.chunks_exact(width.max(1)));
    for (row, (found, truth)) in rows.enumerate() {
        let (z, y) = (row / height, row % height);
        // Most voxels continue a stretch of equal classes.
        let mut start = 0;
        while start < width {
            let (one, other) = (found[start], truth[start]);
            let mut end = start + 1;
            while end < width && found[end] == one && truth[end] == other {
                end += 1;
            }
            let voxels = (end - start) as u64;
            if other != IGNORED {
                match (index(one), index(other)) {
                    (Some(a), Some(b)) if a == b => scores[a].both += voxels,
                    (a, b) => {
                        a.into_iter().for_each(|a| scores[a].only_found += voxels);
                        b.into_iter().for_each(|b| scores[b].only_truth += voxels);
                    }
                }
                for class in [index(one), index(other)].into_iter().flatten() {
                    boxes[class].add([z, y, start], end);
                }
            }
            start = end;
        }
    }
    let Some(spacing) = spacing else { return scores };
    let flat = size.map(|n| n == 1);
    for ((score, extent), class) in scores.iter_mut().zip(boxes).zip(classes) {
        if score.precision().is_none() || score.recall().is_none() {
            continue;
        }
        let mask =
            |image: &[u16]| extent.mask(size, |at| image[at] == class && truth[at] != IGNORED);
        let (found, truth) = (mask(found), mask(truth));
        let boxed = |mask| Boxed { mask, size: extent.size(), flat };
        score.surface = surface_distances(boxed(&found), boxed(&truth), spacing);
    }
    scores
}

/// The box of the voxels that were added.
#[derive(Clone, Copy, Debug)]
struct Extent {
    least: [usize; 3],
    end: [usize; 3],
}

impl Default for Extent {
    fn default() -> Self {
        Extent { least: [usize::MAX; 3], end: [0; 3] }
    }
}

impl Extent {
    /// Adds a stretch of a row from `x` to `end`.
    fn add(&mut self, [z, y, x]: [usize; 3], end: usize) {
        for (least, place) in self.least.iter_mut().zip([z, y, x]) {
            *least = (*least).min(place);
        }
        for (last, place) in self.end.iter_mut().zip([z + 1, y + 1, end]) {
            *last = (*last).max(place);
        }
    }

    fn size(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.end[axis] - self.least[axis])
    }

    /// The voxels of the box for which `is` holds, by their index in the volume.
    fn mask(&self, [_, height, width]: [usize; 3], is: impl Fn(usize) -> bool) -> Vec<bool> {
        let mut mask = Vec::with_capacity(self.size().iter().product());
        for z in self.least[0]..self.end[0] {
            for y in self.least[1]..self.end[1] {
                let row = (z * height + y) * width;
                mask.extend((row + self.least[2]..row + self.end[2]).map(&is));
            }
        }
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_counted_apart() {
        let found = [0, 1, 1, 2, 2, 2, 0, 1];
        let truth = [0, 1, 2, 2, 2, 0, 1, IGNORED];
        let scores = class_scores(&found, &truth, [1, 2, 4], 1..4, Some([1.0; 3]));
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
        let scores = class_scores(&[1, 0, 0], &[0, 0, 0], [1, 1, 3], 1..2, Some([1.0; 3]));
        assert_eq!((scores[0].dice(), scores[0].precision()), (Some(0.0), Some(0.0)));
        assert_eq!((scores[0].recall(), scores[0].surface), (None, None));
    }
}
