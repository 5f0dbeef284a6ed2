//! `RandomAffineTransform`: shear, scaling, one rotation and a shift.

use anyhow::Result;

use super::stream::RandomSource;
use super::{ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape};
use crate::config::Parameter;
use crate::resample::map::Affine;
use crate::resample::sample::Border;
use crate::resample::volume::{Fill, Resampling, resample};
use crate::volume::Volume;

pub(super) static ENTRY: TransformEntry = TransformEntry {
    name: "RandomAffineTransform",
    class: TransformClass::Geometric,
    meaning: "Random shear, scaling, rotation about the first voxel and shift, as \
              scipy.ndimage.affine_transform.",
    parameters: &[
        deviation("sigma_xy_shear", 0.1, "shear between x and y"),
        deviation("sigma_zstack_shear", 0.1, "shear of x and y in proportion to z"),
        deviation("sigma_zwarp_shear", 0.1, "shear of z in proportion to x and y"),
        deviation("sigma_scale_xy", 0.1, "scale of x and of y, about 1"),
        deviation("sigma_scale_z", 0.1, "scale of z, about 1"),
        deviation("sigma_rotate", 15.0, "angle in degrees"),
        Parameter::planes("axes", &[], "planes of rotation to choose from; all three if absent")
            .optional(),
        Parameter::probability("shear_exec_prob", 0.2, "how often it shears"),
        Parameter::probability("rotate_exec_prob", 0.2, "how often it rotates"),
        Parameter::probability("scale_exec_prob", 0.2, "how often it scales"),
        Parameter::probability("translate_exec_prob", 0.4, "how often it shifts"),
        shift("translate_x", 50, "x"),
        shift("translate_y", 20, "y"),
        shift("translate_z", 10, "z"),
        Parameter::choice(
            "mode",
            "constant",
            Border::MODES,
            "what lies outside: `cval`, or the volume mirrored with its edge repeated",
        ),
        Parameter::integer("order", 1, "order of the spline: 0 nearest, 1 linear, 2 or 3")
            .within(0.0, 3.0),
        Parameter::number("cval", 0.0, "value of what lies outside; the median if absent")
            .optional(),
    ],
    build: |section| {
        Ok(Box::new(RandomAffineTransform {
            sigma_xy_shear: section.number("sigma_xy_shear"),
            sigma_zstack_shear: section.number("sigma_zstack_shear"),
            sigma_zwarp_shear: section.number("sigma_zwarp_shear"),
            sigma_scale_xy: section.number("sigma_scale_xy"),
            sigma_scale_z: section.number("sigma_scale_z"),
            sigma_rotate: section.number("sigma_rotate"),
            planes: section.maybe_planes("axes").unwrap_or_else(|| PLANES.to_vec()),
            shear_exec_prob: section.number("shear_exec_prob"),
            rotate_exec_prob: section.number("rotate_exec_prob"),
            scale_exec_prob: section.number("scale_exec_prob"),
            translate_exec_prob: section.number("translate_exec_prob"),
            translate: ["translate_z", "translate_y", "translate_x"]
                .map(|name| section.integer(name)),
            resampling: Resampling {
                order: section.size("order"),
                border: Border::of_mode(section.text("mode")),
                fill: section.maybe_number("cval").map_or(Fill::Median, Fill::Value),
            },
        }))
    },
};

/// A standard deviation; 0 leaves the entry unchanged.
pub(super) const fn deviation(
    name: &'static str,
    default: f64,
    meaning: &'static str,
) -> Parameter {
    Parameter::number(name, default, meaning).at_least(0.0)
}

/// The three planes of a volume, in the order of the reference's `RandomRotate90`
/// and `RandomAffineTransform`; axes 0, 1, 2 are z, y, x.
pub(super) const PLANES: [[usize; 2]; 3] = [[1, 0], [2, 1], [2, 0]];

/// The bound t of a shift by whole voxels in [−t, t).
pub(super) const fn shift(name: &'static str, default: i64, meaning: &'static str) -> Parameter {
    Parameter::integer(name, default, meaning).within(0.0, 1e6)
}

/// Draws in this order: whether to shear, and the entries; whether to scale, and the factors of
/// y, x and z; whether to rotate, the angle and the plane; whether to shift, and the shifts along
/// z, y and x.
struct RandomAffineTransform {
    sigma_xy_shear: f64,
    sigma_zstack_shear: f64,
    sigma_zwarp_shear: f64,
    sigma_scale_xy: f64,
    sigma_scale_z: f64,
    sigma_rotate: f64,
    planes: Vec<[usize; 2]>,
    shear_exec_prob: f64,
    rotate_exec_prob: f64,
    scale_exec_prob: f64,
    translate_exec_prob: f64,
    translate: [i64; 3],
    resampling: Resampling,
}

impl Transform for RandomAffineTransform {
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume> {
        let mut map = self.draw(&mut context.stream());
        if map == Affine::IDENTITY {
            return Ok(volume);
        }
        resample(volume, self.resampling, &mut map)
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        input.wants_3d()?;
        Ok(input)
    }
}

impl RandomAffineTransform {
    fn draw(&self, stream: &mut impl RandomSource) -> Affine {
        const IDENTITY: [[f64; 3]; 3] = Affine::IDENTITY.matrix;
        let mut shear = IDENTITY;
        if stream.chance(self.shear_exec_prob) {
            for (sigma, entries) in [
                (self.sigma_xy_shear, [(2, 1), (1, 2)]),
                (self.sigma_zstack_shear, [(2, 0), (1, 0)]),
                (self.sigma_zwarp_shear, [(0, 1), (0, 2)]),
            ] {
                if sigma > 0.0 {
                    for (i, j) in entries {
                        shear[i][j] = stream.normal(0.0, sigma);
                    }
                }
            }
        }
        let mut scale = IDENTITY;
        if stream.chance(self.scale_exec_prob) {
            for (sigma, axes) in [(self.sigma_scale_xy, &[1, 2][..]), (self.sigma_scale_z, &[0])] {
                if sigma > 0.0 {
                    for &axis in axes {
                        scale[axis][axis] = stream.normal(1.0, sigma);
                    }
                }
            }
        }
        let mut rotate = IDENTITY;
        if stream.chance(self.rotate_exec_prob) {
            let angle = stream.normal(0.0, self.sigma_rotate).to_radians();
            let [a, b] = self.planes[stream.index(self.planes.len())];
            let (sin, cos) = angle.sin_cos();
            rotate[a][a] = cos;
            rotate[a][b] = sin;
            rotate[b][a] = -sin;
            rotate[b][b] = cos;
        }
        let mut translation = [0.0; 3];
        if stream.chance(self.translate_exec_prob) {
            translation =
                self.translate.map(|t| if t == 0 { 0.0 } else { stream.integer(-t..t) as f64 });
        }
        Affine { matrix: product(product(rotate, scale), shear), translation }
    }
}

/// The matrix product a·b.
pub(super) fn product<const N: usize>(a: [[f64; N]; N], b: [[f64; N]; N]) -> [[f64; N]; N] {
    std::array::from_fn(|i| std::array::from_fn(|j| (0..N).map(|k| a[i][k] * b[k][j]).sum()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::recorded::Recorded;
    use crate::resample::Size;
    use crate::volume::Values;

    const ALWAYS: RandomAffineTransform = RandomAffineTransform {
        sigma_xy_shear: 0.1,
        sigma_zstack_shear: 0.1,
        sigma_zwarp_shear: 0.1,
        sigma_scale_xy: 0.1,
        sigma_scale_z: 0.1,
        sigma_rotate: 15.0,
        planes: Vec::new(),
        shear_exec_prob: 1.0,
        rotate_exec_prob: 1.0,
        scale_exec_prob: 1.0,
        translate_exec_prob: 1.0,
        translate: [2, 3, 4],
        resampling: Resampling { order: 1, border: Border::Constant, fill: Fill::Value(0.5) },
    };

    #[test]
    fn agrees_with_scipy() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/kernel/scipy.h5");
        let file = hdf5::File::open(path).unwrap();
        let group = file.group("affine").unwrap();
        let data_set = group.dataset("raw").unwrap();
        let size: Size = data_set.shape().try_into().unwrap();
        let shape = (1, size[0], size[1], size[2]);
        let raw: Vec<f32> = data_set.read_raw().unwrap();
        let label: Vec<u8> = group.dataset("label").unwrap().read_raw().unwrap();
        let raw = Volume::plain(ndarray::Array4::from_shape_vec(shape, raw).unwrap());
        let label = Volume::plain(ndarray::Array4::from_shape_vec(shape, label).unwrap());
        let transform = RandomAffineTransform { planes: PLANES.to_vec(), ..ALWAYS };
        let cases = group.groups().unwrap();
        assert_eq!(cases.len(), 3);
        for case in cases {
            let mut draws = Recorded::read(&case);
            let mut map = transform.draw(&mut draws);
            assert!(draws.is_empty());
            let cubic = Resampling { order: 3, border: Border::Reflect, fill: Fill::Median };
            for (name, how) in [("raw_linear", ALWAYS.resampling), ("raw_cubic", cubic)] {
                let found = resample(raw.clone(), how, &mut map).unwrap().into_f32();
                let wanted: Vec<f32> = case.dataset(name).unwrap().read_raw().unwrap();
                for (found, wanted) in found.iter().zip(wanted) {
                    assert!((found - wanted).abs() < 1e-5, "{name}: {found} {wanted}");
                }
            }
            let how = Resampling { order: 0, border: Border::Constant, fill: Fill::Value(3.0) };
            let Values::U8(found) = resample(label.clone(), how, &mut map).unwrap().values else {
                panic!("the type changed")
            };
            let wanted: Vec<u8> = case.dataset("label_nearest").unwrap().read_raw().unwrap();
            assert!(found.iter().eq(&wanted));
        }
    }
}
