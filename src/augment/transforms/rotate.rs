//! `RandomRotate`: a rotation by whole degrees in a random plane.

use anyhow::Result;

use super::stream::RandomSource;
use super::{Transform, TransformClass, TransformContext, TransformEntry};
use crate::config::Parameter;
use crate::resample::Size;
use crate::resample::by_index::by_index;
use crate::resample::map::Affine;
use crate::resample::sample::Border;
use crate::resample::volume::{Fill, Resampling, resample, resample_slices};
use crate::volume::{Volume, Voxels};

pub(super) static ENTRY: TransformEntry = TransformEntry {
    name: "RandomRotate",
    class: TransformClass::Geometric,
    meaning: "Turns the volume about its centre by a random angle in a random plane, keeping its \
              shape, as scipy.ndimage.rotate without reshape.",
    parameters: &[
        ANGLE_SPECTRUM,
        Parameter::planes("axes", &[], "planes to choose from; all three if absent").optional(),
        MODE_REFLECT,
        ORDER,
        Parameter::number(
            "cval",
            0.0,
            "value of what lies outside, with `mode` constant; the median of the whole patch if \
             absent",
        )
        .optional(),
        Parameter::probability("execution_probability", 0.1, "how often it acts"),
    ],
    build: |section| {
        Ok(Box::new(RandomRotate {
            angle_spectrum: section.integer("angle_spectrum"),
            planes: section.maybe_planes("axes").unwrap_or_else(|| PLANES.to_vec()),
            resampling: Resampling {
                order: section.size("order"),
                border: Border::of_mode(section.text("mode")),
                fill: section.maybe_number("cval").map_or(Fill::Median, Fill::Value),
            },
            execution_probability: section.number("execution_probability"),
        }))
    },
};

pub(super) const ANGLE_SPECTRUM: Parameter =
    Parameter::integer("angle_spectrum", 30, "the angle a: whole degrees in [−a, a)")
        .within(0.0, 360.0);
pub(super) const ORDER: Parameter =
    Parameter::integer("order", 0, "order of the spline: 0 nearest, 1 linear, 2 or 3")
        .within(0.0, 3.0);
pub(super) const MODE_REFLECT: Parameter = Parameter::choice(
    "mode",
    "reflect",
    Border::MODES,
    "what lies outside: the volume mirrored with its edge repeated, or `cval`",
);

/// The planes in the order of the reference.
const PLANES: [[usize; 2]; 3] = [[0, 1], [1, 2], [0, 2]];

/// Draws whether it is applied, the plane, the angle.
pub(super) struct RandomRotate {
    pub angle_spectrum: i64,
    pub planes: Vec<[usize; 2]>,
    pub resampling: Resampling,
    pub execution_probability: f64,
}

impl Transform for RandomRotate {
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume> {
        Ok(self.apply_voxels(volume.into(), context)?.expand())
    }

    fn apply_voxels(&self, volume: Voxels, context: &TransformContext<'_>) -> Result<Voxels> {
        let mut stream = context.stream();
        if !stream.chance(self.execution_probability) {
            return Ok(volume);
        }
        let plane = self.planes[stream.index(self.planes.len())];
        let angle = stream.integer(-self.angle_spectrum..self.angle_spectrum);
        if angle == 0 {
            return Ok(volume);
        }
        by_index(volume, self.resampling, |volume, resampling| {
            rotate(volume, plane, angle, resampling)
        })
    }
}

/// `scipy.ndimage.rotate(volume, angle, axes=plane, reshape=False)`.
fn rotate(volume: Volume, plane: [usize; 2], angle: i64, resampling: Resampling) -> Result<Volume> {
    let [_, height, width] = volume.size();
    if plane.contains(&0) {
        let mut map = rotation(volume.size(), plane, angle);
        return resample(volume, resampling, &mut map);
    }
    resample_slices(volume, resampling, &mut rotation([1, height, width], plane, angle))
}

/// The map of `scipy.ndimage.rotate(…, angle, axes=plane, reshape=False)`.
fn rotation(size: Size, mut plane: [usize; 2], angle: i64) -> Affine {
    // scipy sorts the axes: the order in which they are given does not matter.
    plane.sort_unstable();
    let [a, b] = plane;
    let (sin, cos) = sin_cos(angle);
    let mut map = Affine::IDENTITY;
    map.matrix[a][a] = cos;
    map.matrix[a][b] = sin;
    map.matrix[b][a] = -sin;
    map.matrix[b][b] = cos;
    let centre = [a, b].map(|axis| (size[axis] as f64 - 1.0) / 2.0);
    map.translation[a] = centre[0] - (cos * centre[0] + sin * centre[1]);
    map.translation[b] = centre[1] - (-sin * centre[0] + cos * centre[1]);
    map
}

/// Sine and cosine of whole degrees, exact at quarter turns.
fn sin_cos(degrees: i64) -> (f64, f64) {
    match degrees.rem_euclid(360) {
        0 => (0.0, 1.0),
        90 => (1.0, 0.0),
        180 => (0.0, -1.0),
        270 => (-1.0, 0.0),
        other => (other as f64).to_radians().sin_cos(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Values;

    fn read<T: hdf5::H5Type>(group: &hdf5::Group, name: &str) -> Vec<T> {
        group.dataset(name).unwrap().read_raw().unwrap()
    }

    #[test]
    fn agrees_with_scipy() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/kernel/scipy.h5");
        let file = hdf5::File::open(path).unwrap();
        let group = file.group("rotate").unwrap();
        let size: Size = group.dataset("raw").unwrap().shape().try_into().unwrap();
        let (raw, label) = (read::<f32>(&group, "raw"), read::<u8>(&group, "label"));
        let shape = (1, size[0], size[1], size[2]);
        let mut compared = 0;
        for name in group.member_names().unwrap() {
            let parts: Vec<&str> = name.split('_').collect();
            let [data, plane, angle, order, mode] = parts[..] else { continue };
            let plane: Vec<usize> = plane.bytes().map(|axis| usize::from(axis - b'0')).collect();
            // The order of the axes does not matter.
            let (plane, angle) = ([plane[1], plane[0]], angle.parse().unwrap());
            let how = |fill| Resampling {
                order: order.parse().unwrap(),
                border: Border::of_mode(mode),
                fill: Fill::Value(fill),
            };
            if data == "label" {
                let label = ndarray::Array4::from_shape_vec(shape, label.clone()).unwrap();
                let found = rotate(Volume::plain(label), plane, angle, how(7.0)).unwrap();
                let Values::U8(found) = found.values else { panic!("the type changed") };
                assert!(found.iter().eq(&read::<u8>(&group, &name)), "{name}");
            } else {
                let raw = ndarray::Array4::from_shape_vec(shape, raw.clone()).unwrap();
                let found = rotate(Volume::plain(raw), plane, angle, how(0.25)).unwrap().into_f32();
                for (found, wanted) in found.iter().zip(read::<f32>(&group, &name)) {
                    assert!((found - wanted).abs() < 1e-5, "{name}: {found} {wanted}");
                }
            }
            compared += 1;
        }
        assert_eq!(compared, 60);
    }

    #[test]
    fn a_quarter_turn_moves_voxels_exactly() {
        let volume: Vec<u8> = (1..=9).collect();
        let volume = Volume::plain(ndarray::Array4::from_shape_vec((1, 1, 3, 3), volume).unwrap());
        let how = Resampling { order: 0, border: Border::Constant, fill: Fill::Value(0.0) };
        let found = rotate(volume, [1, 2], 90, how).unwrap();
        let Values::U8(found) = found.values else { panic!("the type changed") };
        assert_eq!(found.into_raw_vec_and_offset().0, [3, 6, 9, 2, 5, 8, 1, 4, 7]);
    }
}
