//! Distances between the surfaces of two masks.

use super::nearest::VoxelGrid;

/// How far the surfaces of two masks are apart, in the unit of the spacing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SurfaceDistances {
    /// The larger of the two 95th percentiles of the distances from one surface to the
    /// other (MONAI's `compute_hausdorff_distance` with `percentile=95`).
    pub hausdorff95: f64,
    /// The mean over the distances in both directions (MONAI's
    /// `compute_average_surface_distance` with `symmetric=True`).
    pub average: f64,
}

/// A mask in a box (D, H, W) that holds all of its voxels.
#[derive(Clone, Copy, Debug)]
pub struct Boxed<'a> {
    pub mask: &'a [bool],
    pub size: [usize; 3],
    /// Axes along which the whole volume has one voxel: a volume of one slice is flat,
    /// and its voxels have no surface above and below.
    pub flat: [bool; 3],
}

/// Distances between the surfaces of a prediction and of the truth, with voxels of a
/// spacing (z, y, x). `None` if a mask is empty: then there is no distance.
///
/// The surface of a mask are its voxels with a face to a voxel outside of it; outside
/// of the volume nothing is in a mask.
///
/// # Panics
/// If the boxes differ in size.
pub fn surface_distances(
    found: Boxed<'_>,
    truth: Boxed<'_>,
    spacing: [f64; 3],
) -> Option<SurfaceDistances> {
    assert_eq!(found.size, truth.size);
    let (found_surface, truth_surface) = (found.surface(), truth.surface());
    let [_, height, width] = found.size;
    let directed = |from: &[bool], to: &[bool]| -> Vec<f64> {
        let grid = VoxelGrid::new(to, found.size, spacing);
        let on_surface = from.iter().zip(to).enumerate().filter(|(_, (from, _))| **from);
        on_surface
            .map(|(at, (_, both))| match both {
                true => 0.0,
                false => grid.nearest([at / (height * width), at / width % height, at % width]),
            })
            .collect()
    };
    if !found_surface.contains(&true) || !truth_surface.contains(&true) {
        return None;
    }
    let mut to_truth = directed(&found_surface, &truth_surface);
    let mut to_found = directed(&truth_surface, &found_surface);
    let sum = |values: &[f64]| values.iter().sum::<f64>();
    let count = to_truth.len() + to_found.len();
    let average = (sum(&to_truth) + sum(&to_found)) / count as f64;
    let hausdorff95 = quantile(&mut to_truth, 0.95).max(quantile(&mut to_found, 0.95));
    Some(SurfaceDistances { hausdorff95, average })
}

impl Boxed<'_> {
    /// Which voxels are on the surface.
    fn surface(&self) -> Vec<bool> {
        if self.flat == [true; 3] {
            // A single voxel is its own surface.
            return self.mask.to_vec();
        }
        let [depth, height, width] = self.size;
        let steps = [height * width, width, 1];
        let mut surface = vec![false; self.mask.len()];
        for z in 0..depth {
            for y in 0..height {
                let row = (z * height + y) * width;
                for x in 0..width {
                    let at = row + x;
                    if !self.mask[at] {
                        continue;
                    }
                    surface[at] = [z, y, x].into_iter().enumerate().any(|(axis, place)| {
                        !self.flat[axis]
                            && (place == 0
                                || place + 1 == self.size[axis]
                                || !self.mask[at - steps[axis]]
                                || !self.mask[at + steps[axis]])
                    });
                }
            }
        }
        surface
    }
}

/// A quantile with linear interpolation between the two nearest values, as numpy's and
/// torch's `quantile`. NaN without values.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let place = share * (values.len() - 1) as f64;
    let below = place.floor() as usize;
    let (_, low, above) = values.select_nth_unstable_by(below, f64::total_cmp);
    let low = *low;
    let next = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    low + (next - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(mask: &[bool], size: [usize; 3]) -> Boxed<'_> {
        Boxed { mask, size, flat: size.map(|n| n == 1) }
    }

    #[test]
    fn quantiles_lie_between_values() {
        assert_eq!(quantile(&mut [3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&mut [4.0, 1.0, 2.0, 3.0], 0.5), 2.5);
        assert!((quantile(&mut [0.0, 10.0], 0.95) - 9.5).abs() < 1e-12);
        assert_eq!(quantile(&mut [7.0], 0.95), 7.0);
        assert!(quantile(&mut [], 0.95).is_nan());
    }

    #[test]
    fn surfaces_have_a_face_outside() {
        let mask = [true; 27];
        let surface = boxed(&mask, [3, 3, 3]).surface();
        assert_eq!(surface.iter().filter(|on| !**on).count(), 1);
        // In a flat volume the faces along z do not count.
        let surface = boxed(&mask[..9], [1, 3, 3]).surface();
        assert_eq!(surface.iter().filter(|on| !**on).count(), 1);
        assert_eq!(boxed(&[true], [1, 1, 1]).surface(), [true]);
    }

    #[test]
    fn distances_are_measured_with_the_spacing() {
        let row = |at: usize| (0..6).map(|x| x == at).collect::<Vec<_>>();
        let (a, b) = (row(1), row(4));
        let found = boxed(&a, [1, 1, 6]);
        let distances = surface_distances(found, boxed(&b, [1, 1, 6]), [9.0, 9.0, 0.5]).unwrap();
        assert_eq!(distances, SurfaceDistances { hausdorff95: 1.5, average: 1.5 });
        assert_eq!(surface_distances(found, boxed(&[false; 6], [1, 1, 6]), [1.0; 3]), None);
    }
}
