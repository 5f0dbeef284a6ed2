//! Stitching against a plain, slow implementation: sums, counts, one division.

use ndarray::{Array4, s};
use proptest::prelude::*;
use tch::{Device, Tensor};
use unet3d::samples::slices::Grid;
use unet3d::stitch::{Blending, FinishedBlock, Sums, Tiling, TilingError};

fn tile(
    size: [usize; 3],
    patch: [usize; 3],
    stride: [usize; 3],
    halo: [usize; 3],
    padding: [usize; 3],
    blending: Blending,
) -> Result<Tiling, TilingError> {
    let grid = Grid { patch, stride };
    let starts = [0, 1, 2].map(|axis| grid.starts(axis, size[axis]));
    Tiling::new(size, patch, starts, halo, padding, blending)
}

/// The output of a patch: any function of its own voxels and place will do.
fn patch_output(corner: [usize; 3], patch: [usize; 3]) -> Array4<f32> {
    Array4::from_shape_fn((2, patch[0], patch[1], patch[2]), |(c, z, y, x)| {
        let v =
            (c * 7 + z * 5 + y * 3 + x + corner[0] * 11 + corner[1] * 13 + corner[2] * 17) as f32;
        (v * 0.37).sin()
    })
}

fn plain(
    size: [usize; 3],
    patch: [usize; 3],
    stride: [usize; 3],
    halo: [usize; 3],
    padding: [usize; 3],
) -> Option<Array4<f32>> {
    let mut sums = Array4::<f64>::zeros((2, size[0], size[1], size[2]));
    let mut counts = Array4::<f64>::zeros((1, size[0], size[1], size[2]));
    let starts = |axis: usize| {
        let mut starts: Vec<_> = (0..=size[axis] - patch[axis]).step_by(stride[axis]).collect();
        if starts[starts.len() - 1] + patch[axis] < size[axis] {
            starts.push(size[axis] - patch[axis]);
        }
        starts
    };
    for z in starts(0) {
        for y in starts(1) {
            for x in starts(2) {
                let corner = [z, y, x];
                let output = patch_output(corner, patch);
                let cut = |axis: usize| {
                    let low = if corner[axis] == 0 { 0 } else { halo[axis] };
                    let end = corner[axis] + patch[axis];
                    let high = if end == size[axis] {
                        patch[axis]
                    } else {
                        patch[axis].saturating_sub(halo[axis])
                    };
                    low..high.max(low)
                };
                let (cz, cy, cx) = (cut(0), cut(1), cut(2));
                for (vz, vy, vx) in itertools(cz, cy, cx) {
                    for c in 0..2 {
                        sums[[c, z + vz, y + vy, x + vx]] += f64::from(output[[c, vz, vy, vx]]);
                    }
                    counts[[0, z + vz, y + vy, x + vx]] += 1.0;
                }
            }
        }
    }
    if counts.iter().any(|count| *count == 0.0) {
        return None;
    }
    let averages = (sums / counts).mapv(|value| value as f32);
    let [pz, py, px] = padding;
    let inner = averages.slice(s![.., pz..size[0] - pz, py..size[1] - py, px..size[2] - px]);
    Some(inner.to_owned())
}

fn itertools(
    z: std::ops::Range<usize>,
    y: std::ops::Range<usize>,
    x: std::ops::Range<usize>,
) -> impl Iterator<Item = (usize, usize, usize)> {
    z.flat_map(move |z| {
        let x = x.clone();
        y.clone().flat_map(move |y| x.clone().map(move |x| (z, y, x)))
    })
}

/// Adds patches in order, each in pieces of `piece` planes, and takes boxes as they
/// become final.
fn stitched(tiling: &Tiling, piece: usize) -> Array4<f32> {
    let size = tiling.result_size();
    let mut result = Array4::<f32>::from_elem((2, size[0], size[1], size[2]), f32::NAN);
    let mut sums = Sums::new(tiling, 2, Device::Cpu);
    for patch in tiling.patches() {
        let output = patch_output(tiling.corner(patch), tiling.patch);
        let mut low = 0;
        while low < tiling.patch[0] {
            let high = (low + piece).min(tiling.patch[0]);
            let part = output.slice(s![.., low..high, .., ..]).to_owned();
            let shape = [2, (high - low) as i64, tiling.patch[1] as i64, tiling.patch[2] as i64];
            let tensor = Tensor::from_slice(part.as_slice().unwrap()).view(shape);
            sums.add(tiling, patch, low..high, &tensor).unwrap();
            low = high;
        }
        if patch[2] + 1 == tiling.axes[2].segments.len()
            && let Some(FinishedBlock { z, y, values }) =
                sums.take(tiling, patch[0], patch[1]).unwrap()
        {
            let [_, depth, height, _] = values.size()[..] else { panic!("a box") };
            let (depth, height) = (depth as usize, height as usize);
            let values = Vec::<f32>::try_from(values.contiguous().view([-1])).unwrap();
            let values = Array4::from_shape_vec((2, depth, height, size[2]), values).unwrap();
            let mut place = result.slice_mut(s![.., z..z + depth, y..y + height, ..]);
            assert!(place.iter().all(|voxel| voxel.is_nan()), "voxels were taken twice");
            place.assign(&values);
        }
    }
    result
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn equals_the_plain_implementation(
        patch in prop::array::uniform3(1usize..7),
        extra in prop::array::uniform3(0usize..9),
        stride in prop::array::uniform3(1usize..7),
        halo in prop::array::uniform3(0usize..3),
        padding in prop::array::uniform3(0usize..3),
        piece in 1usize..7,
    ) {
        let size: [usize; 3] = std::array::from_fn(|a| (patch[a] + extra[a]).max(2 * padding[a] + 1));
        let expected = plain(size, patch, stride, halo, padding);
        let made = tile(size, patch, stride, halo, padding, Blending::Average);
        match (made, expected) {
            (Ok(tiling), Some(expected)) => {
                let result = stitched(&tiling, piece);
                prop_assert_eq!(result.dim(), expected.dim());
                for (ours, theirs) in result.iter().zip(&expected) {
                    prop_assert!((ours - theirs).abs() <= 1e-5, "{} {}", ours, theirs);
                }
            }
            (Err(_), None) => {}
            (tiling, expected) => prop_assert!(false, "{:?} {:?}", tiling.is_ok(), expected.is_some()),
        }
    }

    /// Whatever the blending, outputs that agree where they overlap come out as
    /// they are: the weights at a voxel sum to one.
    #[test]
    fn blending_keeps_constants(
        patch in prop::array::uniform3(2usize..9),
        extra in prop::array::uniform3(0usize..9),
        stride in prop::array::uniform3(1usize..4),
    ) {
        let size: [usize; 3] = std::array::from_fn(|a| patch[a] + extra[a]);
        let stride: [usize; 3] = std::array::from_fn(|a| stride[a].min(patch[a]));
        let made = tile(size, patch, stride, [0; 3], [0; 3], Blending::Gaussian).unwrap();
        for axis in &made.axes {
            let mut totals = vec![0f32; axis.size];
            for segment in &axis.segments {
                for (voxel, weight) in segment.covers().zip(&segment.weights) {
                    totals[voxel] += weight;
                }
            }
            prop_assert!(totals.iter().all(|total| (total - 1.0).abs() < 1e-5));
        }
    }
}

#[test]
fn halo_zero_cuts_nothing_and_halo_is_kept_at_the_borders() {
    let made = tile([8, 4, 4], [4; 3], [2; 3], [1, 0, 0], [0; 3], Blending::Average).unwrap();
    let keeps: Vec<_> = made.axes[0].segments.iter().map(|s| s.covers()).collect();
    assert_eq!(keeps, [0..3, 3..5, 5..8]);
    assert_eq!(made.axes[1].segments[0].covers(), 0..4);
    assert_eq!(made.final_before(0, 1), 3);
}

#[test]
fn uncovered_voxels_are_an_error_that_names_the_cure() {
    let message =
        tile([64, 64, 64], [32, 32, 32], [24, 24, 24], [4, 8, 8], [0; 3], Blending::Average)
            .unwrap_err()
            .to_string();
    assert!(message.contains("along y"), "{message}");
    assert!(message.contains("patch_halo") && message.contains("at most 4"), "{message}");
    assert!(message.contains("stride_shape") && message.contains("at most 16"), "{message}");
}
