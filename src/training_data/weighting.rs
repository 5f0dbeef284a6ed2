//! The weight of each voxel, from the labels around it.

use anyhow::{Result, ensure};
use ndarray::{Array3, Axis, azip};

/// What the painted labels mean.
const UNLABELED: u8 = 0;
pub(super) const FOREGROUND: u8 = 1;
pub(super) const BACKGROUND: u8 = 2;
pub(super) const GAP: u8 = 3;

/// How much voxels count. The defaults are those of SegmentationTools.jl
/// (`make_unet_input_h5`), with which the data of SegmentationNet were made.
///
/// - unlabeled: 0;
/// - foreground: `foreground`;
/// - background: `foreground · 2^−(decay_xy·(|Δx|+|Δy|) + decay_z·|Δz|)` for the
///   foreground voxel for which this is largest, and at least 1;
/// - gap, the background between cells that touch: `gap`, or with `scale_gaps`
///   that much for itself and for each foreground voxel among its six neighbours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighting {
    pub foreground: f64,
    pub gap: f64,
    pub scale_gaps: bool,
    /// Halvings per voxel within a slice.
    pub decay_xy: f64,
    /// Halvings per slice.
    pub decay_z: f64,
}

impl Default for Weighting {
    fn default() -> Self {
        Weighting { foreground: 6.0, gap: 10.0, scale_gaps: false, decay_xy: 0.36, decay_z: 1.0 }
    }
}

/// What a network is trained on, (D, H, W) both, and how many voxels carry each of
/// the four painted labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// 1 where the image was labelled foreground, else 0.
    pub label: Array3<u8>,
    pub weight: Array3<f32>,
    pub counts: [usize; 4],
}

impl Weighting {
    /// Turns painted labels (D, H, W) into label and weight. A label above 3 is an
    /// error.
    pub fn apply(&self, painted: &Array3<u8>) -> Result<Labelled> {
        let mut counts = [0; 4];
        for &label in painted {
            ensure!(
                usize::from(label) < counts.len(),
                "the label image holds the value {label}: it may hold 0 (unlabeled), \
                 1 (foreground), 2 (background) and 3 (gap); give --instances if every cell has a \
                 number"
            );
            counts[usize::from(label)] += 1;
        }
        let halvings = self.halvings(painted);
        let mut weight = Array3::zeros(painted.dim());
        azip!((weight in &mut weight, &label in painted, &halvings in &halvings) {
            *weight = match label {
                UNLABELED => 0.0,
                GAP => self.gap as f32,
                _ if halvings == 0.0 => self.foreground as f32,
                _ => (self.foreground * (-halvings).exp2()).max(1.0) as f32,
            };
        });
        if self.scale_gaps {
            self.scale_gaps(painted, &mut weight);
        }
        let label = painted.mapv(|label| u8::from(label == FOREGROUND));
        Ok(Labelled { label, weight, counts })
    }

    /// Distance to the nearest foreground voxel along the axes, each step counted in
    /// halvings of the weight. The distance is a sum over axes, so one sweep up and
    /// one down each axis find it exactly.
    fn halvings(&self, painted: &Array3<u8>) -> Array3<f64> {
        let mut distance =
            painted.mapv(|label| if label == FOREGROUND { 0.0 } else { f64::INFINITY });
        for (axis, step) in [(0, self.decay_z), (1, self.decay_xy), (2, self.decay_xy)] {
            for mut lane in distance.lanes_mut(Axis(axis)) {
                for i in 1..lane.len() {
                    lane[i] = lane[i].min(lane[i - 1] + step);
                }
                for i in (0..lane.len() - 1).rev() {
                    lane[i] = lane[i].min(lane[i + 1] + step);
                }
            }
        }
        distance
    }

    fn scale_gaps(&self, painted: &Array3<u8>, weight: &mut Array3<f32>) {
        for ((z, y, x), _) in painted.indexed_iter().filter(|(_, label)| **label == GAP) {
            // Coordinates that wrap below 0 lie outside the array, as those beyond its end.
            let neighbours = [
                (z.wrapping_sub(1), y, x),
                (z + 1, y, x),
                (z, y.wrapping_sub(1), x),
                (z, y + 1, x),
                (z, y, x.wrapping_sub(1)),
                (z, y, x + 1),
            ];
            let foreground =
                neighbours.iter().filter(|at| painted.get(**at) == Some(&FOREGROUND)).count();
            weight[(z, y, x)] = (self.gap * (foreground + 1) as f64) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn background_near_foreground_decays_by_half_each_slice() {
        let painted = array![[[1]], [[2]], [[2]], [[2]], [[2]]];
        let made = Weighting::default().apply(&painted).unwrap();
        assert_eq!(made.weight.into_raw_vec_and_offset().0, [6.0, 3.0, 1.5, 1.0, 1.0]);
        assert_eq!(made.label.into_raw_vec_and_offset().0, [1, 0, 0, 0, 0]);
        assert_eq!(made.counts, [0, 1, 4, 0]);
    }

    #[test]
    fn unlabeled_voxels_do_not_count_but_weights_reach_across_them() {
        let painted = array![[[1, 0, 2]]];
        let made = Weighting { decay_xy: 1.0, ..Weighting::default() }.apply(&painted).unwrap();
        assert_eq!(made.weight.into_raw_vec_and_offset().0, [6.0, 0.0, 1.5]);
    }

    #[test]
    fn gaps_count_once_more_for_each_foreground_neighbour() {
        let painted = array![[[1, 3, 1], [2, 3, 2]], [[2, 1, 2], [2, 2, 2]]];
        let plain = Weighting::default().apply(&painted).unwrap().weight;
        assert_eq!([plain[(0, 0, 1)], plain[(0, 1, 1)]], [10.0, 10.0]);
        let scaled = Weighting { scale_gaps: true, ..Weighting::default() };
        let scaled = scaled.apply(&painted).unwrap().weight;
        assert_eq!([scaled[(0, 0, 1)], scaled[(0, 1, 1)]], [40.0, 10.0]);
    }

    #[test]
    fn an_image_without_foreground_is_background_of_weight_one() {
        let made = Weighting::default().apply(&array![[[2, 2, 0]]]).unwrap();
        assert_eq!(made.weight.into_raw_vec_and_offset().0, [1.0, 1.0, 0.0]);
    }

    #[test]
    fn other_labels_are_refused() {
        let error = Weighting::default().apply(&array![[[0, 4]]]).unwrap_err();
        assert!(error.to_string().contains("the value 4"), "{error}");
    }
}
