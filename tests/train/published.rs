//! Every parameter file of SegmentationNet and AutoCellLabeler trains for two
//! iterations and predicts with the result, with only paths, sizes and feature
//! maps made smaller. (`make examples` does the same for `resources/`.)

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::lab::{Lab, labelled_cells, read};
use crate::support::program::with_config;
use ndarray::{ArrayD, Axis};
use unet3d::config::{Tree, YamlValue};

const SIZE: [usize; 3] = [18, 36, 40];

fn count(tree: &Tree, key: &str) -> usize {
    match tree.root.at(key).unwrap().value {
        YamlValue::Integer(count) => count as usize,
        _ => panic!("{key}"),
    }
}

fn run(lab: &Lab, train: &Path, test: &Path, patch: &str, small: &str, inputs: [PathBuf; 2]) {
    let directory = lab.path("run");
    let _ = fs::remove_dir_all(&directory);
    let set = |key: &str, value: &dyn std::fmt::Display| format!("{key}={value}");
    let mut options = vec![
        set("model.f_maps", &"[16, 32]"),
        set("trainer.checkpoint_dir", &directory.display()),
        set("trainer.h5_dir", &directory.join("dumps").display()),
        set("trainer.iters", &2),
        set("trainer.validate_after_iters", &2),
        set("trainer.log_after_iters", &2),
    ];
    for (phase, input) in ["train", "val"].iter().zip(&inputs) {
        options.push(format!("loaders.{phase}.file_paths=['{}']", input.display()));
        options.push(format!("loaders.{phase}.slice_builder.patch_shape={patch}"));
        options.push(format!("loaders.{phase}.slice_builder.skip_shape_check=true"));
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    with_config("check", train, &options).succeeded();
    with_config("train", train, &options).succeeded();
    assert!(directory.join("dumps/iter_2.h5").is_file());

    let options = [
        set("model.f_maps", &"[16, 32]"),
        set("model_path", &directory.join("best_checkpoint.pytorch").display()),
        set("loaders.test.file_paths", &format!("['{}']", inputs[1].display())),
        set("loaders.output_dir", &directory.display()),
        set("loaders.test.slice_builder.patch_shape", &small),
        set("loaders.test.slice_builder.stride_shape", &"[8, 16, 16]"),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let options = [&options[..], &["loaders.test.slice_builder.skip_shape_check=true"]].concat();
    with_config("check", test, &options).succeeded();
    with_config("predict", test, &options).succeeded();
    let stem = inputs[1].file_stem().unwrap().to_str().unwrap();
    let result: ArrayD<f32> =
        read(&directory.join(format!("{stem}_predictions.h5")), "predictions");
    let sums = result.sum_axis(Axis(0));
    assert_eq!(sums.shape(), SIZE);
    assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-4), "{}", test.display());
}

#[test]
fn the_files_of_autocelllabeler_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("AutoCellLabeler_parameters");
    let lab = Lab::new();
    for name in ["all", "all_red", "OFP", "BFP", "mNeptune", "nocustomaug", "noweight"] {
        let train = folder.join(format!("train_paper_{name}.yaml"));
        let tree = Tree::read(&train, &[]).unwrap();
        let (channels, classes) =
            (count(&tree, "model.in_channels"), count(&tree, "model.out_channels"));
        let inputs = ["a", "b"].map(|file| lab.path(&format!("{file}{channels}.h5")));
        for (seed, path) in inputs.iter().enumerate() {
            if !path.exists() {
                labelled_cells(path, SIZE, channels, classes, seed as u64 + 1);
            }
        }
        let test = folder.join(format!("test_paper_{name}.yaml"));
        run(&lab, &train, &test, "[185, 16, 32, 32]", "[16, 32, 32]", inputs);
    }
}

#[test]
fn the_files_of_segmentationnet_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("SegmentationNet");
    let lab = Lab::new();
    let inputs = [lab.balls("a.h5", SIZE, 1), lab.balls("b.h5", SIZE, 2)];
    let train = folder.join("instance_segmentation_train.yaml");
    let test = folder.join("instance_segmentation_test.yaml");
    run(&lab, &train, &test, "[16, 32, 32]", "[16, 32, 32]", inputs);
}
