//! `random_scale`: training patches of random sizes, scaled to the size that the network
//! is given.

use anyhow::Result;
use ndarray::Array4;

use super::loaders::RandomScale;
use crate::augment::stream::{RandomSource, SampleKey, StreamKey};
use crate::map_values;
use crate::volume::{Sample, Values, Volume, Voxels, Window};

impl RandomScale {
    /// The window with its beginning or its end moved along all axes, clamped to the
    /// volume of `size`; the same for the same key.
    ///
    /// Draws whether it moves, three offsets, their sign, then which end moves.
    pub(super) fn window(&self, window: Window, size: [usize; 3], key: SampleKey) -> Window {
        let SampleKey { seed, epoch, sample } = key;
        let name = "random_scale";
        let mut stream =
            StreamKey { seed, epoch, sample, name, occurrence: 0, data_set: None }.open();
        if stream.chance(self.spared) {
            return window;
        }
        let mut offsets = [0, 1, 2].map(|_| stream.index(self.range) as isize);
        if stream.chance(0.5) {
            offsets = offsets.map(|offset| -offset);
        }
        let moves_start = stream.chance(0.5);
        let mut moved = window;
        for axis in 0..3 {
            let (start, end) = (window.origin[axis], window.origin[axis] + window.size[axis]);
            let (start, end) = match moves_start {
                true => (start.saturating_add_signed(offsets[axis]), end),
                false => (start, end.saturating_add_signed(offsets[axis]).min(size[axis])),
            };
            moved.origin[axis] = start;
            moved.size[axis] = end - start;
        }
        moved
    }
}

/// Scales the volumes of a sample to `size`: raw data linearly, labels and weights to the
/// nearest voxel.
pub(super) fn rescale(sample: Sample, size: [usize; 3]) -> Result<Sample> {
    if sample.raw.size() == size {
        return Ok(sample);
    }
    let nearest_of = |voxels: Option<Voxels>| {
        voxels.map(|voxels| nearest(voxels.expand(), size)).map(Voxels::Dense)
    };
    Ok(Sample {
        raw: linear(sample.raw, size),
        label: nearest_of(sample.label),
        weight: nearest_of(sample.weight),
    })
}

/// As `torch.nn.functional.interpolate` with mode `nearest`.
fn nearest(volume: Volume, size: [usize; 3]) -> Volume {
    let old = volume.size();
    let [zs, ys, xs]: [Vec<usize>; 3] = std::array::from_fn(|axis| {
        let step = old[axis] as f32 / size[axis] as f32;
        (0..size[axis]).map(|i| ((i as f32 * step) as usize).min(old[axis] - 1)).collect()
    });
    let values = map_values!(&volume.values, a => {
        let (channels, _, _, _) = a.dim();
        let shape = (channels, size[0], size[1], size[2]);
        Array4::from_shape_fn(shape, |(c, z, y, x)| a[(c, zs[z], ys[y], xs[x])])
    });
    Volume { values, has_channels: volume.has_channels }
}

/// As `torch.nn.functional.interpolate` with mode `trilinear`, corners not aligned.
fn linear(volume: Volume, size: [usize; 3]) -> Volume {
    let has_channels = volume.has_channels;
    let mut values = volume.into_f32();
    for (axis, length) in size.into_iter().enumerate() {
        values = linear_along(&values, axis, length);
    }
    Volume { values: Values::F32(values), has_channels }
}

/// One axis of [`linear`], of z, y, x.
fn linear_along(values: &Array4<f32>, axis: usize, size: usize) -> Array4<f32> {
    let old = values.shape()[axis + 1];
    if old == size {
        return values.clone();
    }
    let step = old as f32 / size as f32;
    let places: Vec<(usize, usize, f32)> = (0..size)
        .map(|i| {
            let place = ((i as f32 + 0.5) * step - 0.5).max(0.0);
            let low = (place as usize).min(old - 1);
            (low, (low + 1).min(old - 1), place - low as f32)
        })
        .collect();
    let mut shape = [0; 4];
    shape.copy_from_slice(values.shape());
    shape[axis + 1] = size;
    Array4::from_shape_fn(shape, |(c, z, y, x)| {
        let mut index = [c, z, y, x];
        let (low, high, share) = places[index[axis + 1]];
        index[axis + 1] = low;
        let first = values[index];
        index[axis + 1] = high;
        first + (values[index] - first) * share
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(sample: u64) -> SampleKey {
        SampleKey { seed: 1, epoch: 0, sample }
    }

    #[test]
    fn windows_move_at_one_end_and_stay_in_the_volume() {
        let scale = RandomScale { range: 4, spared: 0.5 };
        let window = Window::new([1, 8, 30], [8, 16, 16]);
        let (mut still, mut moved) = (0, 0);
        for sample in 0..200 {
            let other = scale.window(window, [16, 40, 47], key(sample));
            assert_eq!(other, scale.window(window, [16, 40, 47], key(sample)));
            if other == window {
                still += 1;
                continue;
            }
            moved += 1;
            let end = |w: &Window, axis: usize| w.origin[axis] + w.size[axis];
            let starts = (0..3).all(|axis| end(&other, axis) == end(&window, axis));
            let ends = other.origin == window.origin;
            assert!(starts || ends, "{other:?}");
            assert!(other.fits([16, 40, 47]), "{other:?}");
            for axis in 0..3 {
                assert!(other.size[axis].abs_diff(window.size[axis]) < 4, "{other:?}");
            }
        }
        assert!(still > 60 && moved > 60, "{still} {moved}");
    }

    #[test]
    fn volumes_are_scaled_as_torch_scales_them() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/recorded/upstream/transforms/transforms.h5"
        );
        let file = hdf5::File::open(path).unwrap();
        for name in ["random_scale_raw", "random_scale_label"] {
            let group = file.group(name).unwrap();
            let read = |name: &str| -> (Vec<f32>, Vec<usize>) {
                let dataset = group.dataset(name).unwrap();
                (dataset.read_raw().unwrap(), dataset.shape())
            };
            let (input, shape) = read("input");
            let (expected, wanted) = read("output");
            let size =
                |shape: &[usize]| -> [usize; 3] { shape[shape.len() - 3..].try_into().unwrap() };
            let [d, h, w] = size(&shape);
            let volume = Volume::plain(Array4::from_shape_vec((1, d, h, w), input).unwrap());
            let found = match name {
                "random_scale_raw" => linear(volume, size(&wanted)),
                _ => nearest(volume, size(&wanted)),
            };
            for (found, wanted) in found.into_f32().iter().zip(&expected) {
                assert!((found - wanted).abs() < 1e-5, "{name}: {found} {wanted}");
            }
        }
    }
}
