//! `GradualGaussianBlur`: a blur that varies along the depth.

use anyhow::Result;

use super::affine::deviation;
use super::stream::RandomSource;
use super::{
    ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape, floats,
};
use crate::config::Parameter;
use crate::resample::Size;
use crate::resample::gaussian::{Axis, Edge, Real, across, along};
use crate::volume::{Values, Volume};

pub(super) static ENTRY: TransformEntry = TransformEntry {
    name: "GradualGaussianBlur",
    class: TransformClass::Intensity,
    meaning: "Blurs every slice with a sigma that goes from one random value to another along the \
              depth, by mixing `num_blurs` blurred copies.",
    parameters: &[
        deviation("max_blur_start", 2.0, "largest sigma at the first slice, in voxels")
            .within(0.0, 1e4),
        deviation("max_blur_end", 2.0, "largest sigma after the last slice, in voxels")
            .within(0.0, 1e4),
        Parameter::integer("num_blurs", 5, "copies to mix, at most one a slice").within(2.0, 1e6),
        Parameter::probability("execution_probability", 0.1, "how often it acts"),
    ],
    build: |section| {
        Ok(Box::new(GradualGaussianBlur {
            max_sigmas: [section.number("max_blur_start"), section.number("max_blur_end")],
            copies: section.size("num_blurs"),
            execution_probability: section.number("execution_probability"),
        }))
    },
};

/// Draws whether it is applied, then the sigmas at the start and at the end.
struct GradualGaussianBlur {
    max_sigmas: [f64; 2],
    copies: usize,
    execution_probability: f64,
}

impl Transform for GradualGaussianBlur {
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume> {
        let mut stream = context.stream();
        let mut volume = floats::convert(volume);
        if !stream.chance(self.execution_probability) {
            return Ok(volume);
        }
        let size = volume.size();
        anyhow::ensure!(
            self.copies <= size[0],
            "`num_blurs` is {}, more than the {} slices of this patch",
            self.copies,
            size[0]
        );
        let [start, end] = self.max_sigmas.map(|max| stream.between(0.0, max));
        let sigmas: Vec<f64> = (0..self.copies)
            .map(|i| start + (end - start) * i as f64 / (self.copies - 1) as f64)
            .collect();
        match &mut volume.values {
            Values::F32(array) => blur_channels(array, size, &sigmas),
            Values::F64(array) => blur_channels(array, size, &sigmas),
            _ => unreachable!("the volume was converted"),
        }
        Ok(volume)
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        input.wants_4d()?;
        let copies = self.copies;
        if let Some(size) = input.sizes.iter().find(|size| size[0] < copies) {
            let slices = size[0];
            let message = format!("{copies} copies are more than the {slices} slices of a patch");
            return Err(ShapeError { key: Some("num_blurs"), message });
        }
        Ok(floats::output_shape(input))
    }
}

fn blur_channels<T: Real>(array: &mut ndarray::Array4<T>, size: Size, sigmas: &[f64]) {
    if !array.is_standard_layout() {
        *array = array.as_standard_layout().into_owned();
    }
    let values = array.as_slice_mut().expect("standard layout is contiguous");
    let copies: Vec<[Axis<T>; 3]> =
        sigmas.iter().map(|&sigma| size.map(|n| Axis::new(sigma, n, Edge::Reflect))).collect();
    let voxels = size.iter().product::<usize>();
    let mut filtered = [vec![T::default(); voxels], vec![T::default(); voxels]];
    for channel in values.chunks_exact_mut(voxels.max(1)) {
        blur(channel, size, &copies, &mut filtered);
    }
}

/// For slice `d` of `depth`: the index of the blurred copy before it (the next one is after it)
/// and the weight of that copy. The copies are at `linspace(0, depth, copies)`; a slice at the
/// position of a copy uses that copy only.
fn mix(d: usize, depth: usize, copies: usize) -> (usize, f64) {
    let place = |copy: usize| depth as f64 * copy as f64 / (copies - 1) as f64;
    let mut after = 1;
    while d as f64 > place(after) {
        after += 1;
    }
    let share = (place(after) - d as f64) / (place(after) - place(after - 1));
    (after - 1, share)
}

/// Blurs one channel in place. For each slice only the two copies around it are computed;
/// `filtered` holds them after the filter along z.
fn blur<T: Real>(
    channel: &mut [T],
    size: Size,
    copies: &[[Axis<T>; 3]],
    filtered: &mut [Vec<T>; 2],
) {
    let [depth, height, width] = size;
    let slice = height * width;
    let mixes: Vec<(usize, f64)> = (0..depth).map(|d| mix(d, depth, copies.len())).collect();
    // Along z first, one y at a time, so that the data of a step stay in cache.
    let mut slab = Vec::with_capacity(depth * width);
    for y in 0..height {
        slab.clear();
        for z in 0..depth {
            let start = z * slice + y * width;
            slab.extend_from_slice(&channel[start..start + width]);
        }
        for (z, &(before, _)) in mixes.iter().enumerate() {
            let start = z * slice + y * width;
            for (filtered, copy) in filtered.iter_mut().zip(&copies[before..]) {
                across(&slab, &copy[0], z, &mut filtered[start..start + width]);
            }
        }
    }
    let (mut row, mut blurred, mut extended) =
        (vec![T::default(); width], vec![T::default(); width], Vec::new());
    for (z, &(before, share)) in mixes.iter().enumerate() {
        let out = &mut channel[z * slice..(z + 1) * slice];
        out.fill(T::default());
        let shares = [share, 1.0 - share];
        for ((filtered, copy), share) in filtered.iter().zip(&copies[before..]).zip(shares) {
            if share == 0.0 {
                continue;
            }
            let rows = &filtered[z * slice..(z + 1) * slice];
            for (y, out) in out.chunks_exact_mut(width).enumerate() {
                across(rows, &copy[1], y, &mut row);
                along(&row, &copy[2], &mut extended, &mut blurred);
                let share = T::of(share);
                for (out, &value) in out.iter_mut().zip(&blurred) {
                    *out = *out + share * value;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_scipy() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/kernel/scipy.h5");
        let file = hdf5::File::open(path).unwrap();
        let group = file.group("blur").unwrap();
        let data_set = group.dataset("input").unwrap();
        let shape: [usize; 4] = data_set.shape().try_into().unwrap();
        let input: Vec<f32> = data_set.read_raw().unwrap();
        let mut compared = 0;
        for name in group.member_names().unwrap() {
            if name == "input" {
                continue;
            }
            let data_set = group.dataset(&name).unwrap();
            let sigmas: Vec<f64> = data_set.attr("sigmas").unwrap().read_raw().unwrap();
            let wanted: Vec<f32> = data_set.read_raw().unwrap();
            let mut array = ndarray::Array4::from_shape_vec(shape, input.clone()).unwrap();
            blur_channels(&mut array, [shape[1], shape[2], shape[3]], &sigmas);
            for (found, wanted) in array.iter().zip(wanted) {
                assert!((found - wanted).abs() < 1e-6, "{name}: {found} {wanted}");
            }
            compared += 1;
        }
        assert_eq!(compared, 3);
    }

    #[test]
    fn slices_lie_between_two_copies() {
        // Copies at 0, 4, 8.
        let shares: Vec<(usize, f64)> = (0..8).map(|d| mix(d, 8, 3)).collect();
        let wanted =
            [(0, 1.0), (0, 0.75), (0, 0.5), (0, 0.25), (0, 0.0), (1, 0.75), (1, 0.5), (1, 0.25)];
        assert_eq!(shares, wanted);
    }
}
