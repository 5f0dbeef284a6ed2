//! Lists of transforms: errors, warnings, and which random numbers raw, label and weight
//! share.

use ndarray::Array4;
use unet3d::augment::stream::SampleKey;
use unet3d::augment::{SampleShape, Transformer};
use unet3d::config::{ConfigError, Tree};
use unet3d::volume::{Element, Sample, Statistics, Volume, VolumeShape};

const STATISTICS: Statistics = Statistics { min: 0.0, max: 1000.0, mean: 400.0, std: 200.0 };

fn read(text: &str) -> (Result<Transformer, ConfigError>, Vec<String>) {
    let tree = Tree::parse(text, "config.yaml", &[]).unwrap();
    let transformer = Transformer::read(tree.root.get("transformer").unwrap());
    (transformer, tree.warnings())
}

fn transformer(text: &str) -> Transformer {
    read(text).0.unwrap()
}

fn refused(text: &str) -> String {
    match read(text).0 {
        Ok(_) => panic!("this configuration was accepted:\n{text}"),
        Err(error) => error.to_string(),
    }
}

fn key(sample: u64) -> SampleKey {
    SampleKey { seed: 1, epoch: 2, sample }
}

/// A volume in which every voxel is different.
fn numbered(size: [usize; 3]) -> Volume {
    let count: usize = size.iter().product();
    let values = (0..count as u16).collect();
    Volume::plain(Array4::from_shape_vec((1, size[0], size[1], size[2]), values).unwrap())
}

fn sample(size: [usize; 3]) -> Sample {
    let volume = numbered(size);
    Sample { raw: volume.clone(), label: Some(volume.clone().into()), weight: Some(volume.into()) }
}

fn floats(volume: &Volume) -> Vec<f32> {
    volume.clone().into_f32().iter().copied().collect()
}

const FLIPS: &str = "
transformer:
  raw:
    - name: AdditiveGaussianNoise
      execution_probability: 0.5
    - {name: RandomFlip}
    - {name: Identity}
    - {name: RandomRotate90, axes: null}
    - {name: RandomFlip}
  label:
    - {name: RandomFlip}
    - {name: RandomRotate90, axes: null}
    - {name: RandomFlip}
  weight:
    - {name: RandomFlip}
    - {name: RandomRotate90, axes: null}
    - {name: Identity}
    - {name: Identity}
    - {name: RandomFlip}
";

#[test]
fn lists_of_unlike_length_stay_in_step() {
    let transformer = transformer(FLIPS);
    let mut shapes = std::collections::BTreeSet::new();
    let mut noisy = 0;
    for i in 0..60 {
        let out = transformer.apply(sample([3, 4, 5]), key(i), &STATISTICS).unwrap();
        let (label, weight) = (out.label.unwrap().expand(), out.weight.unwrap().expand());
        assert_eq!(label, weight);
        assert_eq!(out.raw.size(), label.size());
        // Noise of a standard deviation of at most 1 moves values by less than 6.
        let (raw, label_values) = (floats(&out.raw), floats(&label));
        assert!(raw.iter().zip(&label_values).all(|(a, b)| (a - b).abs() < 6.0));
        noisy += u32::from(raw != label_values);
        shapes.insert(label.size());
    }
    assert_eq!(shapes.len(), 6 - 2, "three planes: all shapes that one odd turn gives, {shapes:?}");
    assert!((15..45).contains(&noisy), "noise acts half of the time, not {noisy} of 60");
}

#[test]
fn samples_do_not_depend_on_threads_or_order() {
    let transformer = transformer(FLIPS);
    let make = |i| transformer.apply(sample([4, 5, 6]), key(i), &STATISTICS).unwrap();
    let in_order: Vec<Sample> = (0..16).map(make).collect();
    let mut reversed: Vec<Sample> = (0..16).rev().map(make).collect();
    reversed.reverse();
    assert_eq!(in_order, reversed);
    for workers in [2, 5] {
        let mut threaded: Vec<(u64, Sample)> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..workers)
                .map(|worker| {
                    scope.spawn(move || {
                        (worker..16).step_by(workers as usize).map(|i| (i, make(i))).collect()
                    })
                })
                .collect();
            handles.into_iter().flat_map(|handle| -> Vec<_> { handle.join().unwrap() }).collect()
        });
        threaded.sort_by_key(|(i, _)| *i);
        let threaded: Vec<Sample> = threaded.into_iter().map(|(_, sample)| sample).collect();
        assert_eq!(in_order, threaded);
    }
}

#[test]
fn epochs_and_samples_differ() {
    let transformer = transformer(FLIPS);
    let make = |key| transformer.apply(sample([4, 5, 6]), key, &STATISTICS).unwrap().label;
    let differs = |change: fn(u64) -> SampleKey| (0..8).any(|i| make(change(i)) != make(key(i)));
    assert!(differs(|i| SampleKey { epoch: 3, ..key(i) }));
    assert!(differs(|i| SampleKey { seed: 2, ..key(i) }));
    assert!(differs(|i| key(i + 100)));
}

#[test]
fn the_second_transform_of_a_name_draws_anew() {
    let once = transformer("transformer: {raw: [{name: RandomFlip}]}");
    let twice = transformer("transformer: {raw: [{name: RandomFlip}, {name: RandomFlip}]}");
    let apply = |transformer: &Transformer, i| {
        transformer.apply_raw(numbered([3, 4, 5]), key(i), &STATISTICS)
    };
    // If both flips drew the same numbers, they would always cancel.
    assert!((0..20).any(|i| apply(&twice, i).unwrap() != numbered([3, 4, 5])));
    // If the second did nothing, both lists would agree.
    assert!((0..20).any(|i| apply(&once, i).unwrap() != apply(&twice, i).unwrap()));
}

#[test]
fn intensities_of_raw_and_label_are_drawn_apart() {
    let transformer = transformer(
        "transformer:
           raw: [{name: AdditiveGaussianNoise, execution_probability: 1}]
           label: [{name: AdditiveGaussianNoise, execution_probability: 1}]
           weight: [{name: AdditiveGaussianNoise, execution_probability: 1}]",
    );
    let out = transformer.apply(sample([3, 4, 5]), key(0), &STATISTICS).unwrap();
    let (raw, label, weight) = (
        floats(&out.raw),
        floats(&out.label.unwrap().expand()),
        floats(&out.weight.unwrap().expand()),
    );
    assert!(raw.iter().zip(&label).all(|(a, b)| a != b));
    assert!(raw.iter().zip(&weight).all(|(a, b)| a != b));
    assert!(label.iter().zip(&weight).all(|(a, b)| a != b));
}

#[test]
fn absent_and_null_axes_are_different_things() {
    let shapes = |axes: &str| {
        let transformer =
            transformer(&format!("transformer: {{raw: [{{name: RandomRotate90{axes}}}]}}"));
        let mut shapes: Vec<[usize; 3]> = (0..80)
            .map(|i| {
                transformer.apply_raw(numbered([2, 3, 4]), key(i), &STATISTICS).unwrap().size()
            })
            .collect();
        shapes.sort_unstable();
        shapes.dedup();
        shapes
    };
    assert_eq!(shapes(""), [[2, 3, 4], [2, 4, 3]]);
    assert_eq!(shapes(", axes: null"), [[2, 3, 4], [2, 4, 3], [3, 2, 4], [4, 3, 2]]);
    assert_eq!(shapes(", axes: [[0, 1]]"), [[2, 3, 4], [3, 2, 4]]);
    assert_eq!(shapes(", axes: null, force_180: true"), [[2, 3, 4]]);
}

#[test]
fn turns_and_flips_are_uniform() {
    let flips = transformer("transformer: {raw: [{name: RandomFlip, axis_prob: 0.3}]}");
    let turns = transformer("transformer: {raw: [{name: RandomRotate90}]}");
    let count = 4000;
    let mut flipped = [0; 3];
    let mut turned = [0; 4];
    for i in 0..count {
        let first = floats(&flips.apply_raw(numbered([2, 2, 2]), key(i), &STATISTICS).unwrap())[0];
        for (axis, count) in flipped.iter_mut().enumerate() {
            *count += (first as usize >> (2 - axis)) & 1;
        }
        let volume = turns.apply_raw(numbered([1, 2, 2]), key(i), &STATISTICS).unwrap();
        // rot90 of [[0, 1], [2, 3]]: [[1, 3], [0, 2]], [[3, 2], [1, 0]], [[2, 0], [3, 1]].
        turned[[0, 1, 3, 2][floats(&volume)[0] as usize]] += 1;
    }
    for flips in flipped {
        assert!((flips as f64 / count as f64 - 0.7).abs() < 0.04, "{flipped:?}");
    }
    for turns in turned {
        assert!((turns as f64 / count as f64 - 0.25).abs() < 0.04, "{turned:?}");
    }
}

#[test]
fn standardize_and_normalize_use_the_file_or_what_is_given() {
    let values =
        || Volume::plain(Array4::from_shape_vec((1, 1, 1, 3), vec![0u16, 400, 2000]).unwrap());
    let run = |text: &str| {
        let transformer = transformer(&format!("transformer: {{raw: [{text}]}}"));
        floats(&transformer.apply_raw(values(), key(0), &STATISTICS).unwrap())
    };
    assert_eq!(run("{name: Standardize}"), [-2.0, 0.0, 8.0]);
    assert_eq!(run("{name: Standardize, mean: 0, std: 100}"), [0.0, 4.0, 20.0]);
    assert_eq!(run("{name: Standardize, std: 0, eps: 10}"), [-40.0, 0.0, 160.0]);
    assert_eq!(run("{name: Normalize}"), [-1.0, -0.2, 1.0]);
    assert_eq!(run("{name: Normalize, min_value: 400, max_value: 4400}"), [-1.0, -1.0, -0.2]);
}

#[test]
fn contrast_stretches_about_its_mean() {
    let raw = || {
        let values = vec![-0.5f32, 0.0, 0.25, 0.5, 0.1, 0.3];
        Volume::channelled(Array4::from_shape_vec((2, 1, 1, 3), values).unwrap())
    };
    let statistics = Statistics { mean: 0.2, ..STATISTICS };
    let run = |keys: &str, i| {
        let transformer = transformer(&format!(
            "transformer: {{raw: [{{name: RandomContrast, execution_probability: 1{keys}}}]}}"
        ));
        floats(&transformer.apply_raw(raw(), key(i), &statistics).unwrap())
    };
    // The ratio of distances to the mean is alpha, one for each channel.
    let alphas = |mean: [f32; 2], values: &[f32]| {
        let input = floats(&raw());
        let alpha = |c: usize| (values[c * 3] - mean[c]) / (input[c * 3] - mean[c]);
        for (i, (x, y)) in input.iter().zip(values).enumerate() {
            let wanted = (mean[i / 3] + alpha(i / 3) * (x - mean[i / 3])).clamp(-1.0, 1.0);
            assert!((wanted - y).abs() < 1e-5);
        }
        [alpha(0), alpha(1)]
    };
    let mut seen = Vec::new();
    for i in 0..200 {
        let file = alphas([0.2, 0.2], &run("", i));
        let given = alphas([0.0, 0.0], &run(", mean: 0", i));
        let own = alphas([-0.25 / 3.0, 0.3], &run(", use_data_mean: true", i));
        for c in 0..2 {
            assert!((file[c] - given[c]).abs() < 1e-4 && (file[c] - own[c]).abs() < 1e-4);
        }
        assert_ne!(file[0], file[1]);
        seen.extend(file);
    }
    assert!(seen.iter().all(|alpha| (0.499..1.501).contains(alpha)));
    let mean = seen.iter().sum::<f32>() / seen.len() as f32;
    assert!((mean - 1.0).abs() < 0.05, "{mean}");
    // Clipped to the range of normalised data.
    assert!(run(", alpha: [10, 10]", 0).iter().all(|x| (-1.0..=1.0).contains(x)));
}

#[test]
fn gaussian_noise_has_the_drawn_deviation() {
    let zeros = || Volume::plain(Array4::<f32>::zeros((1, 20, 50, 50)));
    let mut deviations = Vec::new();
    let noise = transformer(
        "transformer: {raw: [{name: AdditiveGaussianNoise, execution_probability: 0.5, scale: [1, 3]}]}",
    );
    for i in 0..100 {
        let values = floats(&noise.apply_raw(zeros(), key(i), &STATISTICS).unwrap());
        let count = values.len() as f32;
        let mean = values.iter().sum::<f32>() / count;
        let deviation = (values.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / count).sqrt();
        if deviation > 0.0 {
            assert!(mean.abs() < 5.0 * deviation / count.sqrt());
            assert!((0.98..3.06).contains(&deviation), "{deviation}");
            deviations.push(deviation);
        }
    }
    assert!((30..70).contains(&deviations.len()));
    let mean = deviations.iter().sum::<f32>() / deviations.len() as f32;
    assert!((mean - 2.0).abs() < 0.35, "{mean}");
}

#[test]
fn constant_raw_data_are_refused_by_normalize() {
    let constant = Statistics { min: 5.0, max: 5.0, mean: 5.0, std: 0.0 };
    let transformer = transformer("transformer: {raw: [{name: Identity}, {name: Normalize}]}");
    let message = transformer.check_statistics(&constant).unwrap_err().to_string();
    assert!(message.contains("transformer.raw[1]") && message.contains("min_value"), "{message}");
    let error = transformer.apply_raw(numbered([2, 2, 2]), key(0), &constant).unwrap_err();
    assert!(format!("{error:#}").contains("transformer.raw[1]"), "{error:#}");
    transformer.check_statistics(&STATISTICS).unwrap();
}

#[test]
fn mistakes_are_named_with_list_and_position() {
    let message = refused("transformer:\n  raw:\n    - name: Identity\n    - name: RandomFlop");
    assert!(message.contains("config.yaml:4:7"), "{message}");
    assert!(message.contains("transformer.raw[1].name"), "{message}");
    assert!(message.contains("`RandomFlip`"), "{message}");

    for (text, part) in [
        ("{label: []}", "`raw`"),
        ("{raw: {name: Identity}}", "list"),
        ("{raw: [Identity]}", "`name`"),
        ("{raw: [{name: RandomFlip, axis_prob: 1.5}]}", "raw[0].axis_prob"),
        ("{raw: [{name: RandomFlip}], label: [{name: RandomFlip, axis_prob: x}]}", "label[0]"),
        ("{raw: [{name: RandomRotate90, axes: [[1, 1]]}]}", "raw[0].axes"),
        ("{raw: [{name: RandomRotate90, axes: []}]}", "raw[0].axes"),
        ("{raw: [{name: AdditiveGaussianNoise, scale: [-1, 1]}]}", "raw[0].scale"),
        ("{raw: [{name: AdditiveGaussianNoise, scale: [2, 1]}]}", "raw[0].scale"),
        ("{raw: [{name: AdditivePoissonNoise, lam: 3}]}", "raw[0].lam"),
        ("{raw: [{name: AdditivePoissonNoise, execution_probability: -0.1}]}", "raw[0].exec"),
        ("{raw: [{name: Normalize, min_value: 3, max_value: 3}]}", "raw[0].max_value"),
        ("{raw: [{name: ToTensor}]}", "expand_dims"),
        ("{raw: [{name: ToTensor, expand_dims: true, dtype: float23}]}", "`float32`"),
    ] {
        let message = refused(&format!("transformer: {text}"));
        assert!(message.contains(part), "{text}: {message}");
    }
}

#[test]
fn unknown_keys_are_warned_of_with_the_nearest() {
    let (_, warnings) = read("transformer: {raw: [{name: RandomFlip, axis_probs: 0.5}]}");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("raw[0].axis_probs") && warnings[0].contains("`axis_prob`"));
}

#[test]
fn lists_that_move_voxels_differently_are_warned_of() {
    let warned = |raw: &str, label: &str| {
        read(&format!("transformer:\n  raw: [{raw}]\n  label: [{label}]")).1
    };
    let (flip, turn) = ("{name: RandomFlip}", "{name: RandomRotate90}");
    for (raw, label, parts) in [
        (flip, "", ["transformer.label", "transformer.raw[0]"]),
        ("", flip, ["transformer.label[0]", "`raw`"]),
        (&*format!("{flip}, {turn}"), &*format!("{turn}, {flip}"), ["label[0]", "raw[0]"]),
        ("{name: RandomFlip, axis_prob: 0.4}", flip, ["axis_prob", "raw[0]"]),
        ("{name: RandomRotate90, axes: null}", turn, ["axes", "raw[0]"]),
        ("{name: RandomRotate90, axes: [[0, 1]]}", turn, ["axes", "raw[0]"]),
    ] {
        let warnings = warned(raw, label);
        assert_eq!(warnings.len(), 1, "{raw} | {label}: {warnings:?}");
        for part in parts {
            assert!(warnings[0].contains(part), "{raw} | {label}: {warnings:?}");
        }
    }
    for (raw, label) in [
        (&*format!("{{name: Normalize}}, {flip}"), flip),
        ("{name: RandomFlip, axis_prob: 0.5}", flip),
        ("{name: RandomRotate90, axes: [[1, 2]]}", turn),
        ("{name: RandomRotate90, axes: null}", "{name: RandomRotate90, axes: null}"),
    ] {
        assert_eq!(warned(raw, label), [""; 0], "{raw} | {label}");
    }
}

fn shape(channels: Option<usize>, element: Element, size: [usize; 3]) -> VolumeShape {
    VolumeShape { channels, element, sizes: vec![size] }
}

#[test]
fn output_shapes_follow_the_lists() {
    let transformer = transformer(
        "transformer:
           raw: [{name: Normalize}, {name: RandomRotate90, axes: null}, {name: ToTensor, expand_dims: true}]
           label: [{name: RandomRotate90, axes: null}, {name: ToTensor, expand_dims: false, dtype: long}]",
    );
    let input = SampleShape {
        raw: shape(None, Element::U16, [5, 9, 9]),
        label: Some(shape(None, Element::U8, [5, 9, 9])),
        weight: None,
    };
    let out = transformer.output_shape(input.clone()).unwrap();
    assert_eq!((out.raw.channels, out.raw.element), (Some(1), Element::F32));
    assert_eq!(out.raw.sizes, [[5, 9, 9], [9, 5, 9], [9, 9, 5]]);
    let label = out.label.unwrap();
    assert_eq!((label.channels, label.element), (None, Element::I64));

    let weighted = SampleShape { weight: input.label.clone(), ..input };
    let message = transformer.output_shape(weighted).unwrap_err().to_string();
    assert!(message.contains("`weight`"), "{message}");
}

#[test]
fn odd_turns_and_batches_go_together_only_in_square_planes() {
    let check = |keys: &str, size, batch_size| {
        let input = SampleShape { raw: shape(None, Element::F32, size), label: None, weight: None };
        transformer(&format!(
            "transformer: {{raw: [{{name: Identity}}, {{name: RandomRotate90{keys}}}]}}"
        ))
        .check_batch(batch_size, &input)
    };
    let message = check("", [5, 8, 9], 2).unwrap_err().to_string();
    for part in ["raw[1]", "force_180", "axes", "batch"] {
        assert!(message.contains(part), "{message}");
    }
    check("", [5, 8, 9], 1).unwrap();
    check("", [1, 128, 128], 8).unwrap();
    check(", force_180: true, axes: null", [5, 8, 9], 8).unwrap();
    check(", axes: null", [1, 128, 128], 8).unwrap_err();
}
