//! `RandomITKDeformation`: an affine map and a B-spline deformation, as ITK defines them.

use std::f64::consts::SQRT_2;

use anyhow::Result;

use super::affine::{deviation, product, shift};
use super::stream::RandomSource;
use super::{Transform, TransformClass, TransformContext, TransformEntry};
use crate::config::Parameter;
use crate::resample::Size;
use crate::resample::bspline::{BSpline, Deformation};
use crate::resample::by_index::by_index;
use crate::resample::map::Affine;
use crate::resample::volume::{Fill, Resampling, resample};
use crate::volume::{Volume, Voxels};

pub(super) static ENTRY: TransformEntry = TransformEntry {
    name: "RandomITKDeformation",
    class: TransformClass::Geometric,
    meaning: "Random shear, scaling, rotations about the centre, shift and bend along x, resampled \
              as ITK does; one deformation for all channels.",
    parameters: &[
        deviation("sigma_xy_shear", 0.1, "shear between x and y"),
        deviation("sigma_zstack_shear", 0.1, "shear of x and y in proportion to z"),
        deviation("sigma_zwarp_shear", 0.1, "shear of z in proportion to x and y"),
        deviation("sigma_scale_xy", 0.1, "scale of x and of y, about 1"),
        deviation("sigma_scale_z", 0.1, "scale of z, about 1"),
        deviation("sigma_xy_rotate", 15.0, "angle in the plane of x and y, in degrees"),
        deviation("sigma_xz_rotate", 1.0, "angle in the plane of x and z, in degrees"),
        deviation("sigma_yz_rotate", 5.0, "angle in the plane of y and z, in degrees"),
        Parameter::probability("shear_exec_prob", 0.2, "how often it shears"),
        Parameter::probability("xy_rotate_exec_prob", 0.2, "how often it turns x and y"),
        Parameter::probability("xz_rotate_exec_prob", 0.2, "how often it turns x and z"),
        Parameter::probability("yz_rotate_exec_prob", 0.2, "how often it turns y and z"),
        Parameter::probability("scale_exec_prob", 0.2, "how often it scales"),
        Parameter::probability("translate_exec_prob", 0.4, "how often it shifts"),
        shift("translate_x", 50, "whole voxels along x in [−t, t)"),
        shift("translate_y", 20, "whole voxels along y in [−t, t)"),
        shift("translate_z", 10, "whole voxels along z in [−t, t)"),
        Parameter::any("mode", "accepted and not used"),
        Parameter::any("order", "accepted and not used"),
        Parameter::number(
            "cval",
            0.0,
            "value of what lies outside; the median of each channel if absent",
        )
        .optional(),
        Parameter::probability("bspline_exec_prob", 0.2, "how often it bends"),
        Resampling::INTERPOLATOR,
        Parameter::integer("bspline_order", 2, "order of the bend's splines; no other is defined")
            .within(2.0, 2.0),
        Parameter::integer("bspline_ctrl_points_x", 3, "cells of the bend's mesh along x")
            .within(1.0, 1e4),
        // Beyond one half, neighbouring points could be further apart in y than their distance.
        Parameter::number("bspline_bend_lim", 0.35, "largest bend, as a share of a third of W")
            .within(0.0, 0.5),
        deviation("bspline_sigma", 5.0, "noise on each coefficient of the bend, in voxels"),
    ],
    build: |section| {
        let number = |name: &str| section.number(name);
        Ok(Box::new(RandomItkDeformation {
            geometry: Geometry {
                sigma_xy_shear: number("sigma_xy_shear"),
                sigma_zstack_shear: number("sigma_zstack_shear"),
                sigma_zwarp_shear: number("sigma_zwarp_shear"),
                sigma_scale_xy: number("sigma_scale_xy"),
                sigma_scale_z: number("sigma_scale_z"),
                sigma_rotate: ["sigma_xy_rotate", "sigma_xz_rotate", "sigma_yz_rotate"].map(number),
                rotate_exec_prob: ["xy", "xz", "yz"]
                    .map(|plane| number(&format!("{plane}_rotate_exec_prob"))),
                shear_exec_prob: number("shear_exec_prob"),
                scale_exec_prob: number("scale_exec_prob"),
                translate_exec_prob: number("translate_exec_prob"),
                translate: ["translate_x", "translate_y", "translate_z"]
                    .map(|name| section.integer(name)),
                bend_exec_prob: number("bspline_exec_prob"),
                bend_cells: section.size("bspline_ctrl_points_x"),
                bend_limit: number("bspline_bend_lim"),
                bend_sigma: number("bspline_sigma"),
            },
            resampling: Resampling::itk(
                section.text("interpolator"),
                section.maybe_number("cval").map_or(Fill::ChannelMedian, Fill::Value),
            ),
        }))
    },
};

struct RandomItkDeformation {
    geometry: Geometry,
    resampling: Resampling,
}

impl Transform for RandomItkDeformation {
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume> {
        Ok(self.apply_voxels(volume.into(), context)?.expand())
    }

    fn apply_voxels(&self, volume: Voxels, context: &TransformContext<'_>) -> Result<Voxels> {
        let size = volume.size();
        // Lists with different parameters do not share a deformation.
        let key =
            format!("{}/{}/{size:?}/{:?}", context.key.name, context.key.occurrence, self.geometry);
        let deformation =
            context.shared.get(key, || self.geometry.draw(size, &mut context.stream()));
        match deformation.as_ref() {
            Some(deformation) => by_index(volume, self.resampling, |volume, resampling| {
                resample(volume, resampling, &mut &*deformation)
            }),
            None => Ok(volume),
        }
    }
}

/// The parameters from which a deformation is drawn. Triples are in the order x, y, z; those of
/// planes in the order xy, xz, yz.
#[derive(Clone, Debug)]
struct Geometry {
    sigma_xy_shear: f64,
    sigma_zstack_shear: f64,
    sigma_zwarp_shear: f64,
    sigma_scale_xy: f64,
    sigma_scale_z: f64,
    sigma_rotate: [f64; 3],
    rotate_exec_prob: [f64; 3],
    shear_exec_prob: f64,
    scale_exec_prob: f64,
    translate_exec_prob: f64,
    translate: [i64; 3],
    bend_exec_prob: f64,
    bend_cells: usize,
    bend_limit: f64,
    bend_sigma: f64,
}

/// Order of the bend's splines.
const ORDER: usize = 2;

/// The bend's coefficients along y and along z: one cell of the mesh.
const ROWS: usize = ORDER + 1;

impl Geometry {
    /// Draws a deformation of patches (D, H, W); `None` if no part of it is applied.
    ///
    /// The order of the draws is: whether to shear, and the entries; whether to scale, and x, y
    /// and z; for each plane whether to rotate, and the angle; whether to shift, and z, y and x;
    /// whether to bend, and the bend.
    fn draw(&self, size: Size, draws: &mut impl RandomSource) -> Option<Deformation> {
        let (matrix, mut translation) = self.draw_matrix(size, draws);
        if draws.chance(self.translate_exec_prob) {
            for axis in [2, 1, 0] {
                let t = self.translate[axis];
                if t > 0 {
                    translation[axis] += draws.integer(-t..t) as f64;
                }
            }
        }
        let bend = draws.chance(self.bend_exec_prob).then(|| self.draw_bend(size, draws));
        let affine = from_itk(matrix, translation);
        (affine != Affine::IDENTITY || bend.is_some()).then(|| {
            let bend = bend
                .map(|[x, y, z]| BSpline::over(size, [1, 1, self.bend_cells], ORDER, [z, y, x]));
            Deformation { affine, bend }
        })
    }

    /// R·S·H and t_R, in (x, y, z).
    fn draw_matrix(&self, size: Size, draws: &mut impl RandomSource) -> ([[f64; 3]; 3], [f64; 3]) {
        let mut shear = identity::<3>();
        if draws.chance(self.shear_exec_prob) {
            for (sigma, entries) in [
                (self.sigma_xy_shear, [(0, 1), (1, 0)]),
                (self.sigma_zstack_shear, [(0, 2), (1, 2)]),
                (self.sigma_zwarp_shear, [(2, 1), (2, 0)]),
            ] {
                if sigma > 0.0 {
                    for (i, j) in entries {
                        shear[i][j] = draws.normal(0.0, sigma);
                    }
                }
            }
        }
        let mut scale = identity::<3>();
        if draws.chance(self.scale_exec_prob) {
            for (sigma, axes) in [(self.sigma_scale_xy, &[1, 0][..]), (self.sigma_scale_z, &[2])] {
                if sigma > 0.0 {
                    for &axis in axes {
                        scale[axis][axis] = draws.normal(1.0, sigma);
                    }
                }
            }
        }
        let centre = [size[2], size[1], size[0]].map(|n| n as f64 / 2.0);
        // In homogeneous coordinates, because the rotations are not about the origin.
        let mut rotate = identity::<4>();
        for (plane, [a, b]) in [[0, 1], [0, 2], [1, 2]].into_iter().enumerate() {
            if draws.chance(self.rotate_exec_prob[plane]) {
                let angle = draws.normal(0.0, self.sigma_rotate[plane]).to_radians();
                let (sin, cos) = angle.sin_cos();
                let mut turn = identity::<4>();
                turn[a][a] = cos;
                turn[a][b] = sin;
                turn[b][a] = -sin;
                turn[b][b] = cos;
                let (mut there, mut back) = (identity::<4>(), identity::<4>());
                for axis in 0..3 {
                    there[axis][3] = -centre[axis];
                    back[axis][3] = centre[axis];
                }
                rotate = product(product(product(back, turn), there), rotate);
            }
        }
        let turn = std::array::from_fn(|i| std::array::from_fn(|j| rotate[i][j]));
        let matrix = product(product(turn, scale), shear);
        (matrix, std::array::from_fn(|axis| rotate[axis][3]))
    }

    /// The displacements in x, y and z at the control points, x fastest. The midline bends in the
    /// plane of x and y and keeps its length; the rows beside it rotate with it.
    fn draw_bend(&self, size: Size, draws: &mut impl RandomSource) -> [Vec<f64>; 3] {
        let [_, height, width] = size.map(|n| n as f64);
        let points = self.bend_cells + ORDER;
        let distance = width / 3.0;
        let limit = self.bend_limit * distance;
        let midline: Vec<f64> = (0..points).map(|_| draws.between(-limit, limit)).collect();
        let mut along = vec![0.0; points];
        let mut turn = vec![[0.0; 2]; points];
        for i in 1..points {
            let rise = midline[i] - midline[i - 1];
            let angle = rise.atan2(distance);
            along[i] = along[i - 1] + distance - (distance * distance - rise * rise).sqrt();
            let reach = SQRT_2 * height * (1.0 - angle.cos()).sqrt();
            turn[i] = [reach * (angle / 2.0).cos(), reach * (angle / 2.0).sin()];
        }
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for _z in 0..ROWS {
            for row in [-1.0, 0.0, 1.0] {
                for i in 0..points {
                    x.push(along[i] + row * turn[i][0]);
                    y.push(midline[i] + row * turn[i][1]);
                }
            }
        }
        for component in [&mut x, &mut y] {
            let mean = component.iter().sum::<f64>() / component.len() as f64;
            component.iter_mut().for_each(|value| *value -= mean);
        }
        let z = vec![0.0; x.len()];
        [x, y, z].map(|mut component| {
            for value in &mut component {
                *value += draws.normal(0.0, self.bend_sigma);
            }
            component
        })
    }
}

fn identity<const N: usize>() -> [[f64; N]; N] {
    std::array::from_fn(|i| std::array::from_fn(|j| if i == j { 1.0 } else { 0.0 }))
}

/// The same map with the axes in the order z, y, x.
fn from_itk(matrix: [[f64; 3]; 3], translation: [f64; 3]) -> Affine {
    Affine {
        matrix: std::array::from_fn(|i| std::array::from_fn(|j| matrix[2 - i][2 - j])),
        translation: std::array::from_fn(|i| translation[2 - i]),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::augment::recorded::Recorded;
    use crate::augment::stream::Stream;
    use crate::resample::sample::Border;
    use crate::volume::Values;

    fn recording() -> hdf5::File {
        let path = "/tests/fixtures/kernel/itk_deformation.h5";
        hdf5::File::open(format!("{}{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn read<T: hdf5::H5Type>(group: &hdf5::Group, name: &str) -> Vec<T> {
        group.dataset(name).unwrap().read_raw().unwrap()
    }

    fn recorded_geometry(file: &hdf5::File) -> Geometry {
        let number = |name: &str| -> f64 { file.attr(name).unwrap().read_scalar().unwrap() };
        Geometry {
            sigma_xy_shear: 0.1,
            sigma_zstack_shear: 0.1,
            sigma_zwarp_shear: 0.1,
            sigma_scale_xy: number("sigma_scale_xy"),
            sigma_scale_z: number("sigma_scale_z"),
            sigma_rotate: ["sigma_xy_rotate", "sigma_xz_rotate", "sigma_yz_rotate"].map(number),
            rotate_exec_prob: ["xy_rotate_exec_prob", "xz_rotate_exec_prob", "yz_rotate_exec_prob"]
                .map(number),
            shear_exec_prob: number("shear_exec_prob"),
            scale_exec_prob: number("scale_exec_prob"),
            translate_exec_prob: number("translate_exec_prob"),
            translate: ["translate_x", "translate_y", "translate_z"].map(|n| number(n) as i64),
            bend_exec_prob: number("bspline_exec_prob"),
            bend_cells: 3,
            bend_limit: number("bspline_bend_lim"),
            bend_sigma: number("bspline_sigma"),
        }
    }

    fn close(found: f64, wanted: f64) -> bool {
        (found - wanted).abs() < 1e-9
    }

    #[test]
    fn recorded_draws_give_the_recorded_deformations_and_volumes() {
        let file = recording();
        let geometry = recorded_geometry(&file);
        let shape = file.dataset("raw").unwrap().shape();
        let size: Size = shape.try_into().unwrap();
        let shape = (1, size[0], size[1], size[2]);
        let raw = ndarray::Array4::from_shape_vec(shape, read::<f64>(&file, "raw")).unwrap();
        let label = ndarray::Array4::from_shape_vec(shape, read::<u8>(&file, "label")).unwrap();
        let (raw, label) = (Volume::plain(raw), Volume::plain(label));
        let (mut cases, mut bends) = (0, 0);
        for case in file.groups().unwrap() {
            let mut draws = Recorded::read(&case);
            let mut geometry = geometry.clone();
            if case.name() == "/case6" {
                // Recorded with the bend alone.
                geometry.rotate_exec_prob = [0.0; 3];
                geometry.shear_exec_prob = 0.0;
                geometry.scale_exec_prob = 0.0;
                geometry.translate_exec_prob = 0.0;
            }
            let deformation = geometry.draw(size, &mut draws).expect("each recording deforms");
            assert!(draws.is_empty(), "{}", case.name());
            let (matrix, translation) =
                (read::<f64>(&case, "matrix"), read::<f64>(&case, "translation"));
            for i in 0..3 {
                for j in 0..3 {
                    assert!(close(deformation.affine.matrix[2 - i][2 - j], matrix[3 * i + j]));
                }
                assert!(close(deformation.affine.translation[2 - i], translation[i]));
            }
            assert_eq!(deformation.bend.is_some(), case.dataset("coefficients").is_ok());
            if let Some(bend) = &deformation.bend {
                let [z, y, x] = bend.coefficients();
                let found = x.iter().chain(y).chain(z);
                let wanted = read::<f64>(&case, "coefficients");
                assert_eq!(wanted.len(), 135);
                assert!(found.zip(&wanted).all(|(&found, &wanted)| close(found, wanted)));
                bends += 1;
            }

            let linear = Resampling { order: 1, border: Border::Itk, fill: Fill::ChannelMedian };
            let found = resample(raw.clone(), linear, &mut &deformation).unwrap();
            let Values::F64(found) = found.values else { panic!("the type changed") };
            for (found, wanted) in found.iter().zip(read::<f64>(&case, "raw")) {
                // The range is 2.
                assert!((found - wanted).abs() < 1e-5, "{}", case.name());
            }
            let nearest = Resampling { order: 0, border: Border::Itk, fill: Fill::Value(0.0) };
            let found = resample(label.clone(), nearest, &mut &deformation).unwrap();
            let Values::U8(found) = found.values else { panic!("the type changed") };
            let wanted = read::<u8>(&case, "label");
            let ties = found.iter().zip(&wanted).filter(|(a, b)| a != b).count();
            println!("{}: {ties} labels differ", case.name());
            assert!(ties as f64 <= 1e-4 * wanted.len() as f64, "{}: {ties}", case.name());
            cases += 1;
        }
        assert_eq!((cases, bends), (4, 2));
    }

    const NEVER: Geometry = Geometry {
        sigma_xy_shear: 0.1,
        sigma_zstack_shear: 0.2,
        sigma_zwarp_shear: 0.3,
        sigma_scale_xy: 0.1,
        sigma_scale_z: 0.2,
        sigma_rotate: [15.0, 1.0, 5.0],
        rotate_exec_prob: [0.0; 3],
        shear_exec_prob: 0.0,
        scale_exec_prob: 0.0,
        translate_exec_prob: 0.0,
        translate: [5, 2, 0],
        bend_exec_prob: 0.0,
        bend_cells: 3,
        bend_limit: 0.35,
        bend_sigma: 0.0,
    };

    const SIZE: Size = [20, 40, 60];

    fn draws(geometry: &Geometry, count: usize) -> Vec<Deformation> {
        let mut stream = Stream::seed_from_u64(11);
        (0..count).filter_map(|_| geometry.draw(SIZE, &mut stream)).collect()
    }

    /// Mean and standard deviation.
    fn moments(values: impl Iterator<Item = f64>) -> (f64, f64) {
        let values: Vec<f64> = values.collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let square = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
        (mean, (square / values.len() as f64).sqrt())
    }

    #[test]
    fn entries_have_the_moments_of_their_definitions() {
        let sheared = draws(&Geometry { shear_exec_prob: 1.0, ..NEVER }, 4000);
        // Rows and columns are z, y, x.
        for (i, j, sigma) in
            [(2, 1, 0.1), (1, 2, 0.1), (2, 0, 0.2), (1, 0, 0.2), (0, 1, 0.3), (0, 2, 0.3)]
        {
            let (mean, deviation) = moments(sheared.iter().map(|d| d.affine.matrix[i][j]));
            assert!(mean.abs() < 0.08 * sigma && (deviation / sigma - 1.0).abs() < 0.05);
        }
        let scaled = draws(&Geometry { scale_exec_prob: 1.0, ..NEVER }, 4000);
        for (axis, sigma) in [(0, 0.2), (1, 0.1), (2, 0.1)] {
            let (mean, deviation) = moments(scaled.iter().map(|d| d.affine.matrix[axis][axis]));
            assert!((mean - 1.0).abs() < 0.02 && (deviation / sigma - 1.0).abs() < 0.05);
        }
        let seldom = draws(&Geometry { scale_exec_prob: 0.2, ..NEVER }, 4000).len();
        assert!((700..900).contains(&seldom), "{seldom}");
    }

    #[test]
    fn rotations_turn_about_the_centre() {
        for (plane, axes, sigma) in [(0, [2, 1], 15.0), (1, [2, 0], 1.0), (2, [1, 0], 5.0)] {
            let mut geometry = NEVER;
            geometry.rotate_exec_prob[plane] = 1.0;
            let turned = draws(&geometry, 4000);
            let [a, b] = axes;
            let angles = turned
                .iter()
                .map(|d| d.affine.matrix[a][b].atan2(d.affine.matrix[a][a]).to_degrees());
            let (mean, deviation) = moments(angles);
            assert!(mean.abs() < 0.08 * sigma && (deviation / sigma - 1.0).abs() < 0.05);
            let centre = SIZE.map(|n| n as f64 / 2.0);
            for d in &turned {
                for axis in 0..3 {
                    let row = d.affine.matrix[axis];
                    let moved: f64 = (0..3).map(|j| row[j] * centre[j]).sum();
                    assert!(close(moved + d.affine.translation[axis], centre[axis]));
                }
            }
        }
    }

    #[test]
    fn shifts_are_whole_voxels_of_the_range() {
        let shifted = draws(&Geometry { translate_exec_prob: 1.0, ..NEVER }, 2000);
        for (axis, t) in [(0, 0), (1, 2), (2, 5)] {
            let mut found: Vec<i64> =
                shifted.iter().map(|d| d.affine.translation[axis] as i64).collect();
            found.sort_unstable();
            found.dedup();
            let wanted: Vec<i64> = if t == 0 { vec![0] } else { (-t..t).collect() };
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn a_bend_without_noise_is_the_same_in_every_slice() {
        for d in draws(&Geometry { bend_exec_prob: 1.0, ..NEVER }, 50) {
            let [z, y, x] = d.bend.as_ref().expect("it bends").coefficients();
            assert!(z.iter().all(|&value| value == 0.0));
            for component in [y, x] {
                assert_eq!(component.len(), 5 * 3 * 3);
                assert!(component.iter().sum::<f64>().abs() < 1e-9);
                let (first, others) = component.split_at(15);
                assert!(others.chunks(15).all(|slice| slice == first));
            }
            // The midline: up to 0.35 of a third of the width either way.
            let midline = &y[5..10];
            let low = midline.iter().copied().fold(f64::INFINITY, f64::min);
            let high = midline.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert!(high - low <= 2.0 * 0.35 * 20.0);
        }
    }
}
