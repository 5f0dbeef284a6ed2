//! The numbers that `unet3d predict` writes, for every combination of halo, stride,
//! padding, batch size, output type and predictor, against a plain and slow averaging
//! of patches. Volumes have odd sizes, several element types and layouts in the file.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::support::lab::{Lab, balls, noise, read};
use crate::support::program::with_config;
use clap::Parser;
use hdf5::File;
use ndarray::{Array3, Array4, ArrayD, s};
use tch::{Device, Kind, Tensor};
use unet3d::cli::{Cli, Command};
use unet3d::commands;
use unet3d::model::{NetworkSpec, UNet};
use unet3d::runtime::report::Reporter;

const PATCH: [usize; 3] = [4, 8, 8];
const CHANNELS: usize = 2;
/// The smallest is one patch where nothing is padded.
const SIZES: [[usize; 3]; 4] = [[4, 8, 8], [5, 11, 9], [9, 13, 19], [7, 8, 21]];
const HALOS: [[usize; 3]; 2] = [[0, 0, 0], [1, 0, 2]];
/// No overlap, some, and more than two patches at a voxel along every axis.
const STRIDES: [[usize; 3]; 3] = [[4, 8, 8], [2, 5, 3], [1, 3, 7]];
const PADDINGS: [[usize; 3]; 2] = [[0, 0, 0], [2, 3, 5]];

/// A volume and its name; each file has another element type and layout.
struct Case {
    name: String,
    /// Normalised to -1 to 1.
    raw: Array3<f32>,
}

fn cases(lab: &Lab) -> Vec<Case> {
    fs::create_dir(lab.path("test")).unwrap();
    let mut cases = Vec::new();
    for (number, size) in SIZES.into_iter().enumerate() {
        let raw = noise([1, size[0], size[1], size[2]], number as u64 + 1);
        let raw = raw.index_axis_move(ndarray::Axis(0), 0).mapv(|value| value.round());
        let name = format!("v{number}");
        let file = File::create(lab.path(&format!("test/{name}.h5"))).unwrap();
        let builder = file.new_dataset_builder();
        match number {
            0 => builder.with_data(&raw.mapv(|v| v as u8)).create("raw"),
            1 => {
                builder.chunk([2, 4, 5]).deflate(3).with_data(&raw.mapv(|v| v as u16)).create("raw")
            }
            2 => builder.chunk([3, 5, 7]).shuffle().deflate(1).with_data(&raw).create("raw"),
            _ => {
                let channel = raw.mapv(f64::from).insert_axis(ndarray::Axis(0));
                builder.with_data(&channel).create("raw")
            }
        }
        .unwrap();
        let (low, high) = raw.iter().fold((f32::MAX, f32::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
        let raw = raw.mapv(|v| (2.0 * (v - low) / (high - low) - 1.0).clamp(-1.0, 1.0));
        cases.push(Case { name, raw });
    }
    cases
}

/// numpy's `reflect`, one axis.
fn mirrored(i: i64, n: usize) -> usize {
    let (mut i, last) = (i, n as i64 - 1);
    while !(0..=last).contains(&i) {
        i = if i < 0 { -i } else { 2 * last - i };
    }
    i as usize
}

fn padded(raw: &Array3<f32>, pad: [usize; 3]) -> Array3<f32> {
    let (d, h, w) = raw.dim();
    let shape = [d + 2 * pad[0], h + 2 * pad[1], w + 2 * pad[2]];
    Array3::from_shape_fn(shape, |(z, y, x)| {
        let at = |i: usize, axis: usize, n: usize| mirrored(i as i64 - pad[axis] as i64, n);
        raw[[at(z, 0, d), at(y, 1, h), at(x, 2, w)]]
    })
}

fn tensor(array: &ArrayD<f32>) -> Tensor {
    let shape: Vec<i64> = array.shape().iter().map(|n| *n as i64).collect();
    Tensor::from_slice(&array.iter().copied().collect::<Vec<_>>()).view(&shape[..])
}

/// Probabilities of a patch; with `flip`, averaged over all flips along z and x.
fn probabilities(net: &UNet, patch: &Array3<f32>, flip: bool) -> Array4<f32> {
    let patch = tensor(&patch.clone().into_dyn()).unsqueeze(0).unsqueeze(0);
    let flips: &[&[i64]] = if flip { &[&[], &[2], &[4], &[2, 4]] } else { &[&[]] };
    let sum = flips
        .iter()
        .map(|axes| {
            let logits = tch::no_grad(|| net.forward(&patch.flip(*axes), false)).unwrap();
            logits.softmax(1, Kind::Float).flip(*axes)
        })
        .reduce(|a, b| a + b)
        .unwrap();
    let values = (sum / flips.len() as f64).contiguous().view([-1]);
    let [d, h, w] = PATCH;
    Array4::from_shape_vec([CHANNELS, d, h, w], Vec::try_from(values).unwrap()).unwrap()
}

/// What differs between runs.
#[derive(Clone, Copy, Debug)]
struct Run {
    halo: [usize; 3],
    stride: [usize; 3],
    pad: [usize; 3],
    gaussian: bool,
    flip: bool,
}

/// Patches in all places, one after the other: what counts of each is added to sums
/// and weights, and one divided by the other at the end. `None` if some voxel has no
/// weight.
fn plain(
    run: Run,
    raw: &Array3<f32>,
    outputs: &mut HashMap<[usize; 3], Array4<f32>>,
    net: &UNet,
) -> Option<Array4<f32>> {
    let volume = padded(raw, run.pad);
    let size = [volume.dim().0, volume.dim().1, volume.dim().2];
    let starts = |axis: usize| {
        let mut starts = Vec::new();
        let mut start = 0;
        while start + PATCH[axis] <= size[axis] {
            starts.push(start);
            start += run.stride[axis];
        }
        if starts[starts.len() - 1] + PATCH[axis] < size[axis] {
            starts.push(size[axis] - PATCH[axis]);
        }
        starts
    };
    let weight = |axis: usize, start: usize, voxel: usize| -> f64 {
        let halo = run.halo[axis];
        let cut_low = start != 0 && voxel < halo;
        let cut_high = start + PATCH[axis] != size[axis] && voxel + halo >= PATCH[axis];
        if cut_low || cut_high {
            return 0.0;
        }
        if !run.gaussian {
            return 1.0;
        }
        let length = PATCH[axis] as f64;
        let distance = (voxel as f64 - (length - 1.0) / 2.0) / (length / 8.0);
        (-distance * distance / 2.0).exp().max(1e-6)
    };
    let mut sums = Array4::<f64>::zeros([CHANNELS, size[0], size[1], size[2]]);
    let mut weights = Array3::<f64>::zeros(size);
    for z in starts(0) {
        for y in starts(1) {
            for x in starts(2) {
                let output = outputs.entry([z, y, x]).or_insert_with(|| {
                    let [d, h, w] = PATCH;
                    let patch = volume.slice(s![z..z + d, y..y + h, x..x + w]).to_owned();
                    probabilities(net, &patch, run.flip)
                });
                for ((c, i, j, k), value) in output.indexed_iter() {
                    let weight = weight(0, z, i) * weight(1, y, j) * weight(2, x, k);
                    sums[[c, z + i, y + j, x + k]] += weight * f64::from(*value);
                    if c == 0 {
                        weights[[z + i, y + j, x + k]] += weight;
                    }
                }
            }
        }
    }
    if weights.iter().any(|weight| *weight == 0.0) {
        return None;
    }
    let (d, h, w) = raw.dim();
    let [z, y, x] = run.pad;
    Some(Array4::from_shape_fn([CHANNELS, d, h, w], |(c, i, j, k)| {
        (sums[[c, i + z, j + y, k + x]] / weights[[i + z, j + y, k + x]]) as f32
    }))
}

fn network(lab: &Lab) -> UNet {
    let (raw, label) = balls([8, 16, 16], 1);
    let weight = label.mapv(|label| 1.0 + label);
    let arrays =
        [("raw", raw.into_dyn()), ("label", label.into_dyn()), ("weight", weight.into_dyn())];
    lab.volume("train.h5", &arrays);
    lab.volume("val.h5", &arrays);
    with_config("train", &lab.training(), &["trainer.iters=2", "trainer.validate_after_iters=2"])
        .succeeded();
    let tree = crate::support::tree(
        "model: {name: UNet3D, in_channels: 1, out_channels: 2, f_maps: [4, 8], num_groups: 2}",
    );
    let spec = NetworkSpec::read(tree.root.get("model").unwrap()).unwrap();
    let net = UNet::new(&spec, Kind::Float, Device::Cpu).unwrap();
    net.load_checkpoint(&lab.path("run/last_checkpoint.pytorch")).unwrap();
    net
}

fn check(path: &Path, expected: &Array4<f32>, dtype: &str, compressed: bool, run: Run) {
    let (scale, tolerance) = match dtype {
        "float32" => (1.0, 1e-5),
        "float16" => (1.0, 3e-4),
        _ => (1.0 / 255.0, 0.51 / 255.0),
    };
    let found = read(path, "predictions").mapv(|value| value * scale);
    assert_eq!(found.shape(), expected.shape(), "{run:?} {}", path.display());
    for (place, expected) in expected.clone().into_dyn().indexed_iter() {
        let error = (found[&place] - expected).abs();
        assert!(error <= tolerance, "{run:?} {dtype} {} {place:?}: {error}", path.display());
    }
    let file = File::open(path).unwrap();
    let dataset = file.dataset("predictions").unwrap();
    assert_eq!(dataset.chunk().is_some(), compressed, "without compression: in one piece");
    let labels = read(path, "segmentation");
    for (place, label) in labels.indexed_iter() {
        let [z, y, x] = [place[0], place[1], place[2]];
        let margin = expected[[1, z, y, x]] - expected[[0, z, y, x]];
        assert!(margin.abs() < 1e-4 || (*label == 1.0) == (margin > 0.0), "{run:?} {place:?}");
    }
}

/// What the program does, without starting it, which would take most of a run's time.
fn within_this_process(config: &Path, overrides: &[&str]) {
    let mut line = vec!["unet3d", "predict", "--config", config.to_str().unwrap()];
    line.extend(overrides.iter().flat_map(|option| ["--set", option]));
    let Command::Predict(arguments) = Cli::parse_from(line).command else { unreachable!() };
    commands::predict(&arguments, &Reporter::silent()).unwrap();
}

#[test]
fn every_combination_gives_the_plain_average() {
    let lab = Lab::new();
    let net = network(&lab);
    let cases = cases(&lab);
    let config = lab.prediction();
    let mut jobs = Vec::new();
    let mut number = 0;
    for halo in HALOS {
        for stride in STRIDES {
            for pad in PADDINGS {
                // These take turns, so that each meets every halo, stride and padding
                // beside its neighbours' others.
                let run =
                    Run { halo, stride, pad, gaussian: number / 2 % 2 == 1, flip: number % 3 == 0 };
                number += 1;
                jobs.push(run);
            }
        }
    }
    let mut refused = 0;
    for run in jobs {
        let expected: Vec<_> =
            cases.iter().map(|case| plain(run, &case.raw, &mut HashMap::new(), &net)).collect();
        let fixed = [
            format!("loaders.test.slice_builder.patch_shape={PATCH:?}"),
            format!("loaders.test.slice_builder.stride_shape={:?}", run.stride),
            format!("predictor.patch_halo={:?}", run.halo),
            format!("loaders.mirror_padding={:?}", run.pad),
            format!("predictor.blending={}", if run.gaussian { "gaussian" } else { "average" }),
            format!("predictor.tta={}", if run.flip { "[z, x]" } else { "[]" }),
            "predictor.save_segmentation=true".to_string(),
        ];
        if expected.iter().any(Option::is_none) {
            let options: Vec<&str> = fixed.iter().map(String::as_str).collect();
            with_config("predict", &config, &options)
                .failed_with(1, &["no patch covers", "patch_halo", "stride_shape"]);
            refused += 1;
            continue;
        }
        let variant = |batch: usize, dtype: &str, lazy: bool| {
            let out = lab.path(&format!("out_{batch}_{dtype}_{lazy}"));
            let compressed = dtype != "float16" && !lazy;
            let kind = if lazy { "Lazy" } else { "Standard" };
            let mut options = fixed.to_vec();
            options.extend([
                format!("loaders.batch_size={batch}"),
                format!("predictor.output_dtype={dtype}"),
                format!("predictor.name={kind}Predictor"),
                format!("loaders.dataset={kind}HDF5Dataset"),
                format!("predictor.compression={}", if compressed { "gzip" } else { "none" }),
                format!("loaders.output_dir={}", out.display()),
            ]);
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            if batch == 1 && dtype == "float32" {
                with_config("predict", &config, &options).succeeded();
            } else {
                within_this_process(&config, &options);
            }
            for (case, expected) in cases.iter().zip(&expected) {
                let path = out.join(format!("{}_predictions.h5", case.name));
                check(&path, expected.as_ref().unwrap(), dtype, compressed, run);
            }
        };
        // Two at a time, for two cores.
        std::thread::scope(|scope| {
            for lazy in [false, true] {
                let variant = &variant;
                scope.spawn(move || {
                    for batch in [1, 3] {
                        for dtype in ["float32", "float16", "uint8"] {
                            variant(batch, dtype, lazy);
                        }
                    }
                });
            }
        });
    }
    assert!(refused > 0 && refused < number, "{refused} of {number}");
}
