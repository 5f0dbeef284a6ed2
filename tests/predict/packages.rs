//! Model packages of bioimage.io: one written by bioimageio.spec is read, ours are read
//! again, one whose test fails is refused.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use crate::support::fixture;
use crate::support::lab::Lab;
use crate::support::program::{Run, unet3d, with_config};

/// Writes the archive again with one of its files changed.
fn changed(from: &Path, to: &Path, name: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) {
    let mut archive = ZipArchive::new(fs::File::open(from).unwrap()).unwrap();
    let mut copy = ZipWriter::new(fs::File::create(to).unwrap());
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).unwrap();
        let (mut bytes, entry_name) = (Vec::new(), entry.name().unwrap().into_owned());
        entry.read_to_end(&mut bytes).unwrap();
        copy.start_file(&*entry_name, SimpleFileOptions::default()).unwrap();
        let bytes = if entry_name == name { change(bytes) } else { bytes };
        copy.write_all(&bytes).unwrap();
    }
    copy.finish().unwrap();
}

#[test]
fn a_package_becomes_a_configuration_that_predicts() {
    let lab = Lab::new();
    let (package, folder) = (fixture("package/upstream.zip"), lab.path("imported"));
    let arguments =
        ["import".as_ref(), package.as_os_str(), "--output".as_ref(), folder.as_os_str()];
    let run = unet3d(arguments).succeeded();
    assert!(run.out.contains("the test output is reached"), "{}", run.out);
    lab.balls("volume.h5", [12, 40, 36], 1);
    let config = fs::read_to_string(folder.join("predict.yaml")).unwrap();
    let volume = lab.path("volume.h5").display().to_string();
    fs::write(folder.join("mine.yaml"), config.replace("/path/to/volumes", &volume)).unwrap();
    let overrides = [
        "loaders.test.slice_builder.patch_shape=[8, 16, 16]",
        "loaders.test.slice_builder.stride_shape=[8, 16, 16]",
    ];
    let config = folder.join("mine.yaml");
    with_config("predict", &config, &overrides).succeeded();
    let file = hdf5::File::open(lab.path("volume_predictions.h5")).unwrap();
    assert_eq!(file.dataset("predictions").unwrap().shape(), [2, 12, 40, 36]);

    // Out again, and in again.
    let (weights, ours) = (folder.join("weights.pytorch"), lab.path("ours.zip"));
    let arguments = [
        "export".as_ref(),
        "--config".as_ref(),
        config.as_os_str(),
        "--checkpoint".as_ref(),
        weights.as_os_str(),
        "--author".as_ref(),
        "Nobody".as_ref(),
        ours.as_os_str(),
    ];
    unet3d(arguments).succeeded();
    unet3d(arguments).failed_with(1, &["ours.zip", "not replaced"]);
    let again = lab.path("again");
    unet3d(["import".as_ref(), ours.as_os_str(), "--output".as_ref(), again.as_os_str()])
        .succeeded();
    assert!(again.join("predict.yaml").is_file());
}

#[test]
fn networks_of_the_fork_are_exported_with_their_code() {
    let lab = Lab::new();
    lab.balls("train.h5", [16, 32, 32], 1);
    lab.balls("val.h5", [8, 16, 16], 2);
    // A leaky ReLU, whose slope is another one in the other dialect.
    let order = "model.layer_order=gcl";
    with_config("train", &lab.training(), &[order]).succeeded();
    let (config, weights) = (lab.prediction(), lab.path("run/last_checkpoint.pytorch"));
    let export = |name: &str, flags: &[&str]| {
        let (config, weights, target) = (config.as_os_str(), weights.as_os_str(), lab.path(name));
        let mut arguments = vec!["export".as_ref(), "--config".as_ref(), config];
        arguments.extend(["--checkpoint".as_ref(), weights, "--set".as_ref(), order.as_ref()]);
        arguments.extend(flags.iter().map(AsRef::<OsStr>::as_ref));
        arguments.push(target.as_os_str());
        unet3d(arguments)
    };
    export("fork.zip", &["--author", "Nobody", "--weights", "torchscript,onnx"]).succeeded();
    let package = lab.path("fork.zip");
    let archive = ZipArchive::new(fs::File::open(&package).unwrap()).unwrap();
    let files = ["rdf.yaml", "network.py", "weights.pt", "cover.png", "test_output.npy"];
    for name in files.into_iter().chain(["weights_torchscript.pt", "weights.onnx"]) {
        assert!(archive.index_for_name(name).is_some(), "{name}");
    }
    let again = lab.path("again");
    let arguments =
        ["import".as_ref(), package.as_os_str(), "--output".as_ref(), again.as_os_str()];
    unet3d(arguments).succeeded();
    let config = fs::read_to_string(again.join("predict.yaml")).unwrap();
    assert!(config.contains("dialect: fork"), "{config}");

    // The network alone.
    export("alone.pt", &[]).succeeded();
    export("alone.onnx", &[]).succeeded();
    export("alone.model", &["--format", "onnx"]).succeeded();
    assert_eq!(
        fs::read(lab.path("alone.onnx")).unwrap(),
        fs::read(lab.path("alone.model")).unwrap()
    );
    export("alone.pt", &[]).failed_with(1, &["alone.pt", "not replaced"]);
    export("alone.bin", &[]).failed_with(2, &["alone.bin", "--format"]);
    export("package.zip", &[]).failed_with(2, &["--author"]);
    export("other.pt", &["--weights", "onnx"]).failed_with(2, &["--weights"]);

    // Where a file cannot be written to its end, nothing is left.
    let entries = || fs::read_dir(lab.path("")).unwrap().count();
    let before = entries();
    // The weights of a package are first written by themselves.
    for (name, named) in
        [("full.zip", "weights.pt"), ("full.pt", "full.pt"), ("full.onnx", "full.onnx")]
    {
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -f 4; exec \"$0\" \"$@\""]);
        limited.arg(env!("CARGO_BIN_EXE_unet3d")).args(["export", "--config"]);
        limited.arg(lab.path("predict.yaml"));
        limited.arg("--checkpoint").arg(&weights).args(["--author", "Nobody", "--set", order]);
        let run = Run::from(limited.arg(lab.path(name)).env_clear().output().unwrap());
        run.failed_with(1, &[named, "File too large"]);
        assert_eq!(entries(), before, "{name}");
    }
}

#[test]
fn a_package_whose_test_fails_leaves_nothing() {
    let lab = Lab::new();
    let (broken, folder) = (lab.path("broken.zip"), lab.path("imported"));
    changed(&fixture("package/upstream.zip"), &broken, "test_output.npy", |mut bytes| {
        let last = bytes.len() - 4;
        bytes[last..].copy_from_slice(&0.123f32.to_le_bytes());
        bytes
    });
    let arguments =
        ["import".as_ref(), broken.as_os_str(), "--output".as_ref(), folder.as_os_str()];
    unet3d(arguments).failed_with(1, &["the package's own test", "0.123"]);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

/// The steps before and after the network that a package may name: what they become, or
/// why they are refused.
#[test]
fn steps_become_transforms_or_are_refused() {
    let lab = Lab::new();
    let imported = |number: usize, changes: &[(&str, &str)]| {
        let package = lab.path(&format!("{number}.zip"));
        changed(&fixture("package/upstream.zip"), &package, "rdf.yaml", |bytes| {
            let mut text = String::from_utf8(bytes).unwrap();
            for (from, to) in changes {
                assert!(text.contains(from), "{from}");
                text = text.replacen(from, to, 1);
            }
            text.into_bytes()
        });
        let folder = lab.path(&format!("{number}"));
        let arguments =
            ["import".as_ref(), package.as_os_str(), "--output".as_ref(), folder.as_os_str()];
        (unet3d(arguments), folder)
    };
    // After the inputs, before the outputs, and at the end of the output.
    let before = |step: &str| format!("      - {step}\noutputs:\n");
    let after = |step: &str| format!("    postprocessing:\n      - {step}\nweights:\n");
    let (inputs, outputs) = ("outputs:\n", "weights:\n");

    let taken: [&[(&str, String)]; 4] = [
        &[(inputs, before("{id: clip, kwargs: {min: -20.0, max: 40.0}}"))],
        &[(inputs, before("{id: scale_linear, kwargs: {gain: 1.0, offset: 0.0}}"))],
        &[(outputs, after("{id: clip, kwargs: {min: 0.0, max: 1.0}}"))],
        // The network leaves its activation to the step.
        &[
            ("final_sigmoid: false", "is_segmentation: false".to_string()),
            (outputs, after("{id: softmax, kwargs: {axis: channel}}")),
        ],
    ];
    for (number, changes) in taken.iter().enumerate() {
        let changes: Vec<_> = changes.iter().map(|(from, to)| (*from, to.as_str())).collect();
        let (run, folder) = imported(number, &changes);
        run.succeeded();
        let config = fs::read_to_string(folder.join("predict.yaml")).unwrap();
        match number {
            0 => assert!(config.contains("min_value: -20.0, max_value: 40.0"), "{config}"),
            3 => assert!(config.contains("is_segmentation: true"), "{config}"),
            _ => {}
        }
    }
    let refused = [
        (inputs, before("{id: sigmoid, kwargs: {}}"), "`sigmoid`"),
        (inputs, before("{id: binarize, kwargs: {threshold: 1.0}}"), "`binarize`"),
        (inputs, before("{id: ensure_dtype, kwargs: {dtype: uint8}}"), "whole numbers"),
        (inputs, before("{id: scale_range, kwargs: {}}"), "earlier steps"),
        (inputs, before("{id: scale_linear, kwargs: {gain: [1.0, 2.0]}}"), "`gain`"),
        (outputs, after("{id: sigmoid, kwargs: {}}"), "activation"),
        (outputs, after("{id: binarize, kwargs: {threshold: 0.5}}"), "one channel"),
        (outputs, after("{id: scale_linear, kwargs: {gain: 255.0}}"), "counterpart"),
        (outputs, after("{id: scale_mean_variance, kwargs: {}}"), "counterpart"),
    ];
    for (number, (from, to, word)) in refused.iter().enumerate() {
        let (run, folder) = imported(10 + number, &[(*from, to.as_str())]);
        run.failed_with(1, &[word]);
        assert!(!folder.join("predict.yaml").exists());
    }
}
