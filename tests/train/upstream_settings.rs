//! The settings that wolny/pytorch-3dunet 1.9 was published with: every file passes
//! `check`, and trains or predicts, with a small network and small patches.

use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use hdf5::File;
use ndarray::{Array3, Array4};
use serde_json::{Value, json};
use tch::{Device, Kind};
use unet3d::checkpoint::{self, PickleValue};
use unet3d::config::{Dialect, Tree, YamlValue};
use unet3d::model::{NetworkSpec, UNet, from_tensor};

use crate::support::fixture;
use crate::support::lab::{Lab, balls, noise};
use crate::support::program::{Run, with_config, with_flags};

/// Voxels of the volumes, which are also the patches of training and prediction: smaller
/// ones the files do not allow.
const SIZE: [usize; 3] = [24, 64, 64];

/// All data sets that the files name: `raw` with as many channels as the network takes,
/// `label` with classes or regions, `random` for denoising.
fn volumes(folder: &Path, seed: u64) {
    let (one, label) = balls(SIZE, seed);
    // Two regions, so that borders and averages over regions have something to do.
    let label = Array3::from_shape_fn(SIZE, |place| match label[place] > 0.0 {
        true => 1 + u16::from(place.2 > 40),
        false => 0,
    });
    for channels in [1, 3] {
        let file = File::create(folder.join(format!("volume{channels}.h5"))).unwrap();
        // Networks of three channels have two classes.
        let label = if channels == 3 { label.mapv(|label| label.min(1)) } else { label.clone() };
        match channels {
            1 => file.new_dataset_builder().with_data(&one).create("raw").unwrap(),
            _ => {
                let raw: Array4<f32> = noise([channels, SIZE[0], SIZE[1], SIZE[2]], 5);
                file.new_dataset_builder().with_data(&raw).create("raw").unwrap()
            }
        };
        file.new_dataset_builder().with_data(&label).create("label").unwrap();
        file.new_dataset_builder().with_data(&one).create("random").unwrap();
    }
}

/// Folders `images` and `masks` with a pair of pictures.
fn pictures(folder: &Path, seed: u64) {
    let (raw, label) = balls([1, 72, 64], seed);
    for (name, plane) in [("images", raw), ("masks", label)] {
        let folder = folder.join("pictures").join(name);
        fs::create_dir_all(&folder).unwrap();
        let file = BufWriter::new(fs::File::create(folder.join("a.png")).unwrap());
        let mut encoder = png::Encoder::new(file, 64, 72);
        encoder.set_color(png::ColorType::Grayscale);
        let bytes: Vec<u8> = plane.iter().map(|value| *value as u8).collect();
        encoder.write_header().unwrap().write_image_data(&bytes).unwrap();
    }
}

/// A checkpoint of the network of a `model` section, as `torch.save(model.state_dict())`
/// writes it.
fn weights(model: &Value, path: &Path) {
    let config = Tree::parse(&json!({ "model": model }).to_string(), "model", &[]).unwrap();
    config.set_dialect(Dialect::Upstream);
    let spec = NetworkSpec::read(config.root.get("model").unwrap()).unwrap();
    let net = UNet::new(&spec, Kind::Float, Device::Cpu).unwrap();
    let entries = net.state_dict().into_iter().map(|(name, tensor)| {
        let data = from_tensor(&tensor).unwrap();
        (PickleValue::from(name.as_str()), PickleValue::Tensor(data.into()))
    });
    checkpoint::write(path, &PickleValue::OrderedDict(entries.collect())).unwrap();
}

/// Sets the keys of a map that has them.
fn replace(map: &mut Value, changes: &[(&str, Value)]) {
    for (key, value) in changes {
        if let Some(slot) = map.get_mut(*key) {
            *slot = value.clone();
        }
    }
}

/// The settings of a file with paths, and small enough to run.
fn runnable(lab: &Lab, settings: &Value, run: &Path) -> Value {
    let mut config = settings.clone();
    let maps = json!([8, 16]);
    config["model"]["f_maps"] = maps;
    let images = config["loaders"]["dataset"] == "DSB2018Dataset";
    let volume = match (images, config["model"]["in_channels"].as_i64()) {
        (true, _) => lab.path("data/pictures"),
        (false, channels) => lab.path(&format!("data/volume{}.h5", channels.unwrap_or(1))),
    };
    let volume = volume.display().to_string();
    let planar = config["model"]["name"] == "UNet2D";
    let patch = if planar { [1, SIZE[1], SIZE[2]] } else { SIZE };
    replace(&mut config["loaders"], &[("batch_size", json!(2)), ("num_workers", json!(1))]);
    for phase in ["train", "val", "test"] {
        let Some(section) = config["loaders"].get_mut(phase) else { continue };
        // Other files for validation than for training.
        let volume = if phase == "val" { volume.replace("data/", "val/") } else { volume.clone() };
        section["file_paths"] = json!([volume]);
        if let Some(builder) = section.get_mut("slice_builder") {
            replace(
                builder,
                &[
                    ("patch_shape", json!(patch)),
                    ("stride_shape", json!(patch)),
                    ("threshold", json!(0.0)),
                ],
            );
        }
    }
    if let Some(trainer) = config.get_mut("trainer") {
        trainer["checkpoint_dir"] = json!(run);
        for key in ["max_num_iterations", "validate_after_iters", "log_after_iters"] {
            trainer[key] = json!(2);
        }
    } else {
        let checkpoint = lab.path("weights.pytorch");
        weights(&config["model"], &checkpoint);
        config["model_path"] = json!(checkpoint);
        config["loaders"]["output_dir"] = json!(run);
    }
    config
}

/// Keys of these files that wolny/pytorch-3dunet itself ignores.
const LEFTOVERS: [&str; 7] = [
    "`eval_metric.threshold`",
    "`eval_metric.use_first_input`",
    "`eval_metric.use_last_target`",
    "`eval_metric.ignore_index`",
    "`loaders.weight_internal_path`",
    "`predictor.patch_halo`",
    "transformer.weight`",
];

/// The program knows all keys that have a meaning.
fn knows_all_keys(file: &str, run: &Run) {
    assert!(run.out.contains("read as a file of upstream"), "{file}: {}", run.out);
    for line in run.out.lines().chain(run.err.lines()).filter(|line| line.contains("unknown")) {
        assert!(LEFTOVERS.iter().any(|key| line.contains(key)), "{file}: {line}");
    }
}

#[test]
fn every_published_configuration_runs() {
    let lab = Lab::new();
    for (folder, seed) in [("data", 4), ("val", 5)] {
        fs::create_dir(lab.path(folder)).unwrap();
        volumes(&lab.path(folder), seed);
        pictures(&lab.path(folder), seed);
    }
    let published = Tree::read(&fixture("upstream_settings.yaml"), &[]).unwrap();
    let YamlValue::Map(files) = &published.root.value else { panic!("a map of files") };
    assert_eq!(files.len(), 19);
    for (number, (file, node)) in files.iter().enumerate() {
        let mut settings: Value = serde_json::from_str(&node.to_json()).unwrap();
        let run = lab.path(&format!("run{number}"));
        let small = runnable(&lab, &settings, &run);
        let write = |name: &str, config: &Value| -> PathBuf {
            let path = lab.path(name);
            fs::write(&path, config.to_string()).unwrap();
            path
        };

        // As published but for the paths.
        for phase in ["train", "val", "test"] {
            if let Some(section) = settings["loaders"].get_mut(phase) {
                section["file_paths"] = small["loaders"][phase]["file_paths"].clone();
            }
        }
        for (section, key) in [("trainer", "checkpoint_dir"), ("loaders", "output_dir")] {
            if let Some(path) = small.get(section).and_then(|section| section.get(key)) {
                settings[section][key] = path.clone();
            }
        }
        if let Some(path) = small.get("model_path") {
            settings["model_path"] = path.clone();
        }
        // A patch at a time: how much memory the machine has is not the question.
        let overrides = ["device=cpu", "loaders.batch_size=1"];
        let full = write("full.yaml", &settings);
        knows_all_keys(file, &with_flags("check", &full, &["--no-data"], &overrides).succeeded());

        let trains = small.get("trainer").is_some();
        let command = if trains { "train" } else { "predict" };
        let ran = with_config(command, &write("small.yaml", &small), &["device=cpu"]).succeeded();
        knows_all_keys(file, &ran);
        let written: Vec<_> = fs::read_dir(&run)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let wanted = if trains { "last_checkpoint.pytorch" } else { "_predictions.h5" };
        assert!(written.iter().any(|name| name.ends_with(wanted)), "{file}: {written:?}");
    }
}
