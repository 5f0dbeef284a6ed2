//! `unet3d.schema.json` as editors use it: our configurations name it and pass, broken
//! ones do not.

use std::fs;
use std::path::{Path, PathBuf};

use unet3d::config::Tree;

use crate::support::program::script;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The configurations of this repository.
fn configurations() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in ["configs", "resources", "SegmentationNet", "AutoCellLabeler_parameters"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.len() >= 30, "{files:?}");
    files
}

/// What is wrong with each document, by the schema.
fn errors(documents: &[String]) -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("documents");
    fs::write(&file, documents.join("\n")).unwrap();
    let printed = script("check_schema.py", [&root().join("unet3d.schema.json"), &file]);
    let found: Vec<Vec<String>> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), documents.len());
    found
}

fn parse(yaml: &str) -> Tree {
    Tree::parse(yaml, "config.yaml", &[]).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn our_configurations_name_the_schema() {
    for file in configurations() {
        let text = fs::read_to_string(&file).unwrap();
        let first = text.lines().next().unwrap_or_default();
        let schema = first.strip_prefix("# yaml-language-server: $schema=");
        let schema = schema.unwrap_or_else(|| panic!("{}: {first}", file.display()));
        let schema = file.parent().unwrap().join(schema).canonicalize().unwrap();
        assert_eq!(schema, root().canonicalize().unwrap().join("unet3d.schema.json"));
    }
}

#[test]
fn our_configurations_pass() {
    let files = configurations();
    let documents: Vec<String> =
        files.iter().map(|file| Tree::read(file, &[]).unwrap().root.to_json()).collect();
    for (file, errors) in files.iter().zip(errors(&documents)) {
        assert!(errors.is_empty(), "{}: {errors:?}", file.display());
    }
}

#[test]
fn what_the_program_takes_passes() {
    let documents = [
        "{}",
        "model: null",
        "unknown_key: 3",
        "{model: {name: UNet3D, in_channels: 1, out_channels: 2, f_maps: [16, 32], colour: red}}",
        "{loaders: {raw_internal_path: [raw], mirror_padding: 3, train: {file_paths: x.h5}}}",
        "{loaders: {mirror_padding: [0, 1, 2]}}",
        "{optimizer: {learning_rate: 2e-4, weight_decay: 0, betas: [0.9, 0.99]}}",
        "{loss: {name: BCEWithLogitsLoss, pos_weight: [1, 2.5], ignore_index: -1}}",
        "{loss: {name: BCEWithLogitsLoss, pos_weight: 3}, eval_metric: {}}",
        "{lr_scheduler: {name: MultiStepLR, milestones: [3, 5], gamma: 0.5}}",
        "{trainer: {checkpoint_dir: x, iters: 1e5, epochs: 10_000, validate_iters: null}}",
        "{loaders: {train: {transformer: {raw: [{name: RandomRotate90, axes: [[0, 2]]}]}}}}",
    ];
    let mut documents: Vec<String> =
        documents.iter().map(|yaml| parse(yaml).root.to_json()).collect();
    // What an editor that reads YAML 1.2 makes of `iters: 10_000`.
    documents.push(r#"{"trainer": {"checkpoint_dir": "x", "iters": "10_000"}}"#.into());
    for (document, errors) in documents.iter().zip(errors(&documents)) {
        assert!(errors.is_empty(), "{document}: {errors:?}");
    }
}

#[test]
fn broken_configurations_fail_at_the_key() {
    let transforms = |text: &str| format!("{{loaders: {{val: {{transformer: {{raw: {text}}}}}}}}}");
    let cases = [
        ("manual_seed: -1".to_string(), "$.manual_seed"),
        ("precision: fp8".into(), "$.precision"),
        ("device: 0".into(), "$.device"),
        ("model: UNet3D".into(), "$.model"),
        ("model: {in_channels: 1, out_channels: 1}".into(), "'name' is a required property"),
        ("model: {name: UNet3D, in_channels: 1}".into(), "'out_channels' is a required property"),
        ("model: {name: UNet4D, in_channels: 1, out_channels: 1}".into(), "$.model.name"),
        ("model: {name: UNet3D, in_channels: 1, out_channels: 1, f_maps: many}".into(), "f_maps"),
        ("trainer: {checkpoint_dir: x, iters: ten}".into(), "$.trainer.iters"),
        ("trainer: {checkpoint_dir: x, iters: 1.5}".into(), "$.trainer.iters"),
        ("trainer: {iters: 3}".into(), "'checkpoint_dir' is a required property"),
        ("optimizer: {algorithm: Adamm, learning_rate: 1, weight_decay: 0}".into(), "algorithm"),
        ("optimizer: {learning_rate: 1, weight_decay: 0, betas: [1, 2]}".into(), "betas[1]"),
        ("optimizer: {algorithm: SGD, weight_decay: 0, momentum: 0}".into(), "'learning_rate'"),
        ("lr_scheduler: {name: StepLR}".into(), "'step_size' is a required property"),
        ("lr_scheduler: {name: LambdaLR}".into(), "$.lr_scheduler.name"),
        ("loss: {}".into(), "'name' is a required property"),
        ("loss: {name: BCEWithLogitsLoss, pos_weight: heavy}".into(), "$.loss.pos_weight"),
        ("loss: {name: DiceLoss, ignore_index: none}".into(), "$.loss.ignore_index"),
        ("eval_metric: {name: MeanIoV}".into(), "$.eval_metric.name"),
        ("eval_metric: {name: DiceCoefficient, epsilon: 0}".into(), "$.eval_metric.epsilon"),
        ("predictor: {tta: [w]}".into(), "$.predictor.tta"),
        ("loaders: {batch_size: 0}".into(), "$.loaders.batch_size"),
        ("loaders: {mirror_padding: [1, 2]}".into(), "$.loaders.mirror_padding"),
        (transforms("{name: RandomFlip}"), "transformer.raw"),
        (transforms("[{name: RandomFlop}]"), "transformer.raw[0].name"),
        (transforms("[{name: RandomFlip, axis_prob: 2}]"), "transformer.raw[0].axis_prob"),
        (transforms("[{name: ElasticDeformation}]"), "'spline_order' is a required property"),
        (transforms("[{name: BlobsWithBoundary, mode: [fat]}]"), "transformer.raw[0].mode[0]"),
        (transforms("[{name: RandomRotate, axes: [[0, 3]]}]"), "transformer.raw[0].axes[0][1]"),
    ];
    let documents: Vec<String> = cases.iter().map(|(yaml, _)| parse(yaml).root.to_json()).collect();
    for ((yaml, wanted), errors) in cases.iter().zip(errors(&documents)) {
        let found = errors.iter().any(|error| error.contains(wanted));
        assert!(found, "{yaml}: {errors:?}");
    }
}
