//! The deforming transforms in lists of a configuration: raw, label and weight stay
//! aligned, and impossible values are refused.

use ndarray::Array4;
use proptest::prelude::*;
use unet3d::augment::stream::SampleKey;
use unet3d::augment::{SampleShape, Transformer};
use unet3d::config::Tree;
use unet3d::volume::{Element, Sample, Statistics, Values, Volume, VolumeShape};

const STATISTICS: Statistics = Statistics { min: 0.0, max: 1000.0, mean: 400.0, std: 200.0 };

fn read(text: &str) -> Result<Transformer, String> {
    let tree = Tree::parse(text, "config.yaml", &[]).unwrap();
    Transformer::read(tree.root.get("transformer").unwrap()).map_err(|error| error.to_string())
}

fn refused(step: &str) -> String {
    match read(&format!("transformer: {{raw: [{step}]}}")) {
        Ok(_) => panic!("this was accepted: {step}"),
        Err(error) => error,
    }
}

/// One step for raw, label and weight, all of which take the nearest voxel.
fn aligned(name: &str, keys: &str, nearest: &str) -> Transformer {
    let step = format!("[{{name: {name}, {keys}, {nearest}}}]");
    read(&format!("transformer: {{raw: {step}, label: {step}, weight: {step}}}")).unwrap()
}

/// Blocks of different values, the same number in each type.
fn blocks(size: [usize; 3], channels: usize) -> Array4<u16> {
    Array4::from_shape_fn((channels, size[0], size[1], size[2]), |(c, z, y, x)| {
        (100 * c + 1 + z / 2 * 25 + y / 3 * 5 + x / 4) as u16
    })
}

const GEOMETRIC: &[(&str, &str, &str)] = &[
    ("RandomRotate", "execution_probability: 1, cval: 0, mode: constant", "order: 0"),
    ("RandomRotate", "execution_probability: 1", "order: 0"),
    ("ElasticDeformation", "execution_probability: 1, sigma: 4, alpha: 60", "spline_order: 0"),
    ("ElasticDeformation", "execution_probability: 1, apply_3d: false", "spline_order: 0"),
    (
        "RandomITKDeformation",
        "shear_exec_prob: 0.7, scale_exec_prob: 0.7, xy_rotate_exec_prob: 0.7, \
         translate_exec_prob: 0.7, translate_x: 4, translate_y: 3, translate_z: 1, \
         bspline_exec_prob: 0.7, bspline_sigma: 1, cval: 0",
        "interpolator: nn",
    ),
];

const THREE_D: &[(&str, &str, &str)] = &[
    (
        "RandomAffineTransform",
        "shear_exec_prob: 0.7, scale_exec_prob: 0.7, rotate_exec_prob: 0.7, \
         translate_exec_prob: 0.7, translate_x: 4, translate_y: 3, translate_z: 1, cval: 0",
        "order: 0",
    ),
    (
        "BSplineDeformation",
        "execution_probability: 1, spacing: 6, sigma: 2, cval: 0",
        "interpolator: nn",
    ),
    (
        "BSplineDeformation",
        "execution_probability: 1, spacing: 6, sigma: 2, use_z: false, order: 2, cval: 0",
        "interpolator: nn",
    ),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Volumes of three types with the same voxels are deformed alike.
    #[test]
    fn raw_label_and_weight_stay_aligned(
        seed in any::<u64>(),
        d in 6usize..10, h in 7usize..16, w in 8usize..20,
        has_channels in any::<bool>(),
    ) {
        let size = [d, h, w];
        let steps = GEOMETRIC.iter().chain(if has_channels { &[] } else { THREE_D });
        for &(name, keys, nearest) in steps {
            let transformer = aligned(name, keys, nearest);
            let label = blocks(size, if has_channels { 2 } else { 1 });
            let volume = |values: Values| Volume { values, has_channels };
            let sample = Sample {
                raw: volume(label.mapv(f32::from).into()),
                label: Some(volume(label.clone().into()).into()),
                weight: Some(volume(label.mapv(i64::from).into()).into()),
            };
            let key = SampleKey { seed, epoch: 0, sample: 0 };
            let result = transformer.apply(sample, key, &STATISTICS).unwrap();
            let Values::F32(raw) = &result.raw.values else { panic!("the type changed") };
            let Values::U16(found) = &result.label.unwrap().expand().values else {
                panic!("the type changed")
            };
            let Values::I64(weight) = &result.weight.unwrap().expand().values else {
                panic!("the type changed")
            };
            prop_assert!(raw.iter().zip(found).all(|(&a, &b)| a == f32::from(b)), "{name}");
            prop_assert!(weight.iter().zip(found).all(|(&a, &b)| a == i64::from(b)), "{name}");
            // No new values appear, and channels do not mix.
            for (after, before) in found.outer_iter().zip(label.outer_iter()) {
                let known = |value: &u16| *value == 0 || before.iter().any(|b| b == value);
                prop_assert!(after.iter().all(known), "{name}");
            }
        }
    }

    /// Linear interpolation of raw and nearest of its thresholded copy agree
    /// wherever raw is far from the threshold: both have the same geometry.
    #[test]
    fn interpolated_raw_follows_its_label(seed in any::<u64>()) {
        let (raw, label) = ("spline_order: 3", "spline_order: 0");
        let keys = "execution_probability: 1, sigma: 6, alpha: 100";
        let elastic = (format!("ElasticDeformation, {keys}, {raw}"),
            format!("ElasticDeformation, {keys}, {label}"));
        let keys = "xy_rotate_exec_prob: 1, bspline_exec_prob: 1, bspline_sigma: 1";
        let itk = (format!("RandomITKDeformation, {keys}, cval: -1"),
            format!("RandomITKDeformation, {keys}, cval: 0, interpolator: nn"));
        for (raw, label) in [elastic, itk] {
            let transformer = read(&format!(
                "transformer: {{raw: [{{name: {raw}}}], label: [{{name: {label}}}]}}"
            )).unwrap();
            // A ramp along x: the sign changes in the middle.
            let shape = (1, 8, 24, 32);
            let ramp = Array4::from_shape_fn(shape, |(_, _, _, x)| (x as f32 - 15.5) / 16.0);
            let sample = Sample {
                label: Some(Volume::plain(ramp.mapv(|v| u8::from(v > 0.0))).into()),
                raw: Volume::plain(ramp),
                weight: None,
            };
            let key = SampleKey { seed, epoch: 1, sample: 2 };
            let result = transformer.apply(sample, key, &STATISTICS).unwrap();
            let label = result.label.unwrap().expand().into_f32();
            for (&raw, &label) in result.raw.into_f32().iter().zip(&label) {
                if raw.abs() > 1.0 / 16.0 {
                    prop_assert_eq!(raw > 0.0, label > 0.0);
                }
            }
        }
    }
}

#[test]
fn what_does_not_act_leaves_the_volume_untouched() {
    let never = "execution_probability: 0";
    let none = "shear_exec_prob: 0, scale_exec_prob: 0, xy_rotate_exec_prob: 0, \
                xz_rotate_exec_prob: 0, yz_rotate_exec_prob: 0, translate_exec_prob: 0, \
                bspline_exec_prob: 0";
    let affine = "shear_exec_prob: 0, scale_exec_prob: 0, rotate_exec_prob: 0, \
                  translate_exec_prob: 0";
    for step in [
        format!("RandomRotate, order: 3, {never}"),
        format!("ElasticDeformation, spline_order: 3, {never}"),
        format!("BSplineDeformation, interpolator: bspline, {never}"),
        // The volume is smaller than a cell of the mesh.
        "BSplineDeformation, interpolator: bspline, execution_probability: 1".into(),
        format!("RandomITKDeformation, interpolator: bspline, {none}"),
        format!("RandomAffineTransform, order: 3, {affine}"),
    ] {
        let transformer = read(&format!("transformer: {{raw: [{{name: {step}}}]}}")).unwrap();
        let raw = Volume::plain(blocks([5, 6, 7], 1));
        let key = SampleKey { seed: 3, epoch: 0, sample: 1 };
        assert_eq!(transformer.apply_raw(raw.clone(), key, &STATISTICS).unwrap(), raw, "{step}");
    }
}

#[test]
fn impossible_values_are_refused_with_their_place() {
    for (step, word) in [
        ("{name: RandomITKDeformation, interpolator: lanczos}", "linear, nn, bspline"),
        ("{name: RandomITKDeformation, bspline_order: 3}", "from 2 to 2"),
        ("{name: RandomITKDeformation, bspline_bend_lim: 0.6}", "0.5"),
        ("{name: RandomITKDeformation, sigma_xy_shear: -0.1}", "at least 0"),
        ("{name: RandomITKDeformation, bspline_exec_prob: 1.5}", "from 0 to 1"),
        ("{name: RandomRotate, order: 4}", "from 0 to 3"),
        ("{name: RandomRotate, mode: wrap}", "reflect, constant"),
        ("{name: RandomRotate, axes: [[1, 1]]}", "planes"),
        ("{name: ElasticDeformation}", "spline_order"),
        ("{name: ElasticDeformation, spline_order: -1}", "from 0 to 3"),
        ("{name: ElasticDeformation, spline_order: 3, sigma: -2}", "from 0 to"),
        ("{name: BSplineDeformation, spacing: 0}", "at least 1"),
        ("{name: GradualGaussianBlur, num_blurs: 1}", "from 2"),
        ("{name: RandomAffineTransform, order: 5}", "from 0 to 3"),
    ] {
        let error = refused(step);
        assert!(error.contains(word) && error.contains("transformer.raw"), "{step}: {error}");
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused_before_any_data() {
    let shape = |channels, sizes: &[[usize; 3]]| SampleShape {
        raw: VolumeShape { channels, element: Element::F32, sizes: sizes.to_vec() },
        label: None,
        weight: None,
    };
    for (step, channels, word) in [
        ("RandomAffineTransform", Some(2), "2 channels"),
        ("BSplineDeformation", Some(4), "4 channels"),
        ("GradualGaussianBlur", None, "(C, D, H, W)"),
        ("GradualGaussianBlur, num_blurs: 9", Some(1), "8 slices"),
    ] {
        let transformer = read(&format!("transformer: {{raw: [{{name: {step}}}]}}")).unwrap();
        let error =
            transformer.output_shape(shape(channels, &[[8, 16, 16]])).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("raw[0]"), "{step}: {error}");
    }
}
