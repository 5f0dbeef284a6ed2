//! `unet3d predict` as a user runs it: several files, options of the output, messages for
//! bad input, and the state after signals.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::lab::{Lab, noise, read};
use crate::support::program::{program, script, unet3d, with_config};
use ndarray::{ArrayD, Axis, Zip};

/// A laboratory with a trained network and three volumes to predict.
pub fn lab() -> Lab {
    let lab = Lab::new();
    lab.balls("train.h5", [16, 32, 32], 1);
    lab.balls("val.h5", [8, 16, 16], 2);
    with_config("train", &lab.training(), &["trainer.iters=3", "trainer.validate_after_iters=3"])
        .succeeded();
    fs::create_dir(lab.path("test")).unwrap();
    for (name, size) in [("t1", [13, 27, 30]), ("t2", [8, 16, 16]), ("t10", [9, 40, 17])] {
        lab.balls(&format!("test/{name}.h5"), size, 7);
    }
    lab
}

fn outputs(lab: &Lab) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(lab.path("test"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !["t1.h5", "t2.h5", "t10.h5"].contains(&name.as_str()))
        .collect();
    names.sort();
    names
}

fn predictions(lab: &Lab, name: &str) -> ArrayD<f32> {
    read(&lab.path(&format!("test/{name}_predictions.h5")), "predictions")
}

fn distance(a: &ArrayD<f32>, b: &ArrayD<f32>) -> f32 {
    assert_eq!(a.shape(), b.shape());
    Zip::from(a).and(b).fold(0.0, |most, a, b| most.max((a - b).abs()))
}

#[test]
fn predicts_a_directory_in_natural_order_and_passes_over_its_own_outputs() {
    let lab = lab();
    let config = lab.prediction();
    let inputs = ["t1", "t2", "t10"].map(|name| lab.path(&format!("test/{name}.h5")));
    let state = || {
        inputs
            .each_ref()
            .map(|path| (fs::read(path).unwrap(), fs::metadata(path).unwrap().modified().unwrap()))
    };
    let before = state();
    let run = with_config("predict", &config, &[]).succeeded();
    assert!(state() == before, "an input was changed");
    let lines: Vec<_> = run.out.lines().filter(|line| line.contains("_predictions.h5")).collect();
    assert_eq!(lines.len(), 3, "{}", run.out);
    for (line, name) in lines.iter().zip(["t1", "t2", "t10"]) {
        assert!(line.contains(&format!("/{name}_predictions.h5")), "{line}");
    }
    assert_eq!(outputs(&lab), ["t10_predictions.h5", "t1_predictions.h5", "t2_predictions.h5"]);
    let t1 = predictions(&lab, "t1");
    assert_eq!(t1.shape(), [2, 13, 27, 30]);
    let sums = t1.sum_axis(Axis(0));
    assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "a softmax sums to one");

    let run = with_config("predict", &config, &[]).succeeded();
    assert!(run.out.contains("3 of 3 volume(s)"), "{}", run.out);
    assert!(run.out.contains("volumes/s") && run.out.contains("voxels/s"), "{}", run.out);
    assert_eq!(outputs(&lab).len(), 3);
}

#[test]
fn patches_held_read_lazily_batched_or_all_at_once_give_the_same() {
    let lab = lab();
    let config = lab.prediction();
    with_config("predict", &config, &[]).succeeded();
    let reference = ["t1", "t2", "t10"].map(|name| predictions(&lab, name));
    for options in [
        &["predictor.name=LazyPredictor", "loaders.dataset=LazyHDF5Dataset"][..],
        &["loaders.batch_size=5"],
        &["predictor.compression=none"],
    ] {
        with_config("predict", &config, options).succeeded();
        for (name, expected) in ["t1", "t2", "t10"].iter().zip(&reference) {
            let error = distance(&predictions(&lab, name), expected);
            assert!(error <= 1e-5, "{options:?} {name}: {error}");
        }
    }
    // One patch as large as the padded volume takes another way through.
    let whole = "loaders.test.slice_builder.patch_shape=[12, 24, 24]";
    let file = format!("loaders.test.file_paths=['{}']", lab.path("test/t2.h5").display());
    with_config("predict", &config, &[whole, &file]).succeeded();
    let once = predictions(&lab, "t2");
    with_config("predict", &config, &[whole, &file, "predictor.tta=[]"]).succeeded();
    assert_eq!(distance(&once, &predictions(&lab, "t2")), 0.0);
}

#[test]
fn every_form_of_output_is_read_by_h5py() {
    let lab = lab();
    let config = lab.prediction();
    with_config("predict", &config, &[]).succeeded();
    let exact = predictions(&lab, "t1");
    for (dtype, tolerance) in [("float16", 5e-4), ("uint8", 2e-3)] {
        let option = format!("predictor.output_dtype={dtype}");
        with_config(
            "predict",
            &config,
            &[&option, "predictor.save_segmentation=true", "predictor.preview=true"],
        )
        .succeeded();
        let path = lab.path("test/t1_predictions.h5");
        let text = script("describe_output.py", [&path]);
        assert!(text.contains(&format!("predictions {dtype} (2, 13, 27, 30) gzip")), "{text}");
        assert!(text.contains("segmentation uint16 (13, 27, 30) gzip"), "{text}");
        for name in ["unet3d_version", "configuration", "checkpoint_sha256"] {
            assert!(text.contains(&format!("attribute {name}")), "{text}");
        }
        let scale = if dtype == "uint8" { 1.0 / 255.0 } else { 1.0 };
        let error = distance(&read(&path, "predictions").mapv(|value| value * scale), &exact);
        assert!(error <= tolerance, "{dtype}: {error}");
        let labels = read(&path, "segmentation");
        let (background, ball) = (exact.index_axis(Axis(0), 0), exact.index_axis(Axis(0), 1));
        for ((label, a), b) in labels.iter().zip(background).zip(ball) {
            assert_eq!(*label == 1.0, b > a);
        }
        assert!(lab.path("test/t1_predictions.png").is_file());
    }
    let only = ["predictor.save_probabilities=false", "predictor.save_segmentation=true"];
    with_config("predict", &config, &only).succeeded();
    let text = script("describe_output.py", [lab.path("test/t2_predictions.h5")]);
    assert!(!text.contains("predictions float"), "{text}");
    with_config("predict", &config, &only[..1]).failed_with(2, &["save_probabilities"]);

    with_config("predict", &config, &["prediction_channel=1"]).succeeded();
    let one = predictions(&lab, "t1");
    assert_eq!(one.shape(), [1, 13, 27, 30]);
    let second = exact.index_axis(Axis(0), 1).insert_axis(Axis(0)).to_owned();
    assert_eq!(distance(&one, &second), 0.0);
}

#[test]
fn flips_average_and_gaussian_weights_blend() {
    let lab = lab();
    let config = lab.prediction();
    let once = |options: &[&str]| {
        with_config("predict", &config, options).succeeded();
        predictions(&lab, "t1")
    };
    let plain = once(&[]);
    let gaussian = once(&["predictor.blending=gaussian"]);
    let difference = distance(&plain, &gaussian);
    assert!(difference > 0.0 && difference < 0.5, "{difference}");

    // A volume of which every flip is itself, in one patch: so is its prediction.
    let symmetric = {
        let noise = noise([1, 12, 24, 24], 3);
        let mut sum = noise.clone();
        for axes in [vec![1], vec![2], vec![3], vec![1, 2], vec![1, 3], vec![2, 3], vec![1, 2, 3]] {
            let mut flipped = noise.view();
            axes.iter().for_each(|axis| flipped.invert_axis(Axis(*axis)));
            sum = sum + flipped;
        }
        sum.index_axis(Axis(0), 0).to_owned().into_dyn()
    };
    lab.volume("symmetric.h5", &[("raw", symmetric)]);
    let file = format!("loaders.test.file_paths=['{}']", lab.path("symmetric.h5").display());
    let options = [
        file.as_str(),
        "loaders.mirror_padding=0",
        "loaders.test.slice_builder.patch_shape=[12, 24, 24]",
        "predictor.tta=[z, y, x]",
    ];
    with_config("predict", &config, &options).succeeded();
    let result = read(&lab.path("symmetric_predictions.h5"), "predictions");
    for axis in 1..4 {
        let mut flipped = result.view();
        flipped.invert_axis(Axis(axis));
        let error = distance(&result, &flipped.to_owned());
        assert!(error <= 1e-5, "axis {axis}: {error}");
    }
}

#[test]
fn a_broken_file_is_reported_and_the_others_are_predicted() {
    let lab = lab();
    fs::write(lab.path("test/t3.h5"), "nothing like HDF5").unwrap();
    fs::write(lab.path("test/t2.h5"), fs::read(lab.path("test/t2.h5")).unwrap()).unwrap();
    let run = with_config("predict", &lab.prediction(), &[])
        .failed_with(1, &["1 of 4 volume(s)", "t3.h5"]);
    assert!(run.out.contains("3 of 4 volume(s) predicted"), "{}", run.out);
    assert!(!run.err.contains("t2.h5"), "{}", run.err);
    // A line for each broken file, which names it once.
    assert_eq!(run.err.matches("t3.h5").count(), 1, "{}", run.err);
    assert_eq!(outputs(&lab).len(), 4, "three results and the broken file");
}

#[test]
fn bad_input_is_refused_and_outputs_stay() {
    let lab = lab();
    let config = lab.prediction();
    let kept = lab.path("test/t1_predictions.h5");
    with_config("predict", &config, &[]).succeeded();
    let before = fs::read(&kept).unwrap();
    let refused = |options: &[&str], code: i32, words: &[&str]| {
        with_config("predict", &config, options).failed_with(code, words);
        assert_eq!(fs::read(&kept).unwrap(), before, "{options:?}");
    };
    let files = |path: &Path| format!("loaders.test.file_paths=['{}']", path.display());
    refused(&["loaders.test.file_paths=[/no/such/volume.h5]"], 2, &["/no/such/volume.h5"]);
    fs::create_dir(lab.path("empty")).unwrap();
    refused(&[&files(&lab.path("empty"))], 2, &["empty", "file_paths"]);
    refused(&["loaders.raw_internal_path=image"], 1, &["t1.h5", "image", "raw"]);
    refused(
        &["loaders.test.slice_builder.patch_shape=[8, 64, 16]"],
        1,
        &["t1.h5", "patch_shape", "64"],
    );
    refused(&["predictor.patch_halo=[3, 2, 2]"], 1, &["patch_halo", "stride_shape", "along z"]);
    refused(&["model_path=/no/such.pytorch"], 2, &["model_path", "/no/such.pytorch"]);
    refused(&["model.f_maps=[4, 16]"], 1, &["last_checkpoint.pytorch", "encoders.1"]);
    refused(&["prediction_channel=2"], 2, &["prediction_channel", "2 output channels"]);
    refused(
        &[
            "loaders.test.slice_builder.name=PixelWiseWeightedSliceBuilder",
            "loaders.test.slice_builder.num_patches=1",
        ],
        2,
        &["SliceBuilder"],
    );
    let channels = lab.volume("four.h5", &[("raw", noise([4, 8, 16, 16], 1).into_dyn())]);
    refused(&[&files(&channels)], 1, &["four.h5", "4 channel(s)", "in_channels"]);
    with_config("check", &config, &[&files(&channels)])
        .failed_with(1, &["four.h5", "4 channel(s)", "in_channels"]);
    let raw = "loaders.test.transformer.raw";
    for (list, words) in [
        ("[{name: Normalize}]", ["(D, H, W)", "expand_dims: true"]),
        ("[{name: ToTensor, expand_dims: true, dtype: long}]", ["floating-point", "int64"]),
        (
            "[{name: CropToFixed, size: [8, 8]}, {name: ToTensor, expand_dims: true}]",
            ["[8, 8, 8]", "shape"],
        ),
        (
            "[{name: BlobsWithBoundary, mode: [thick]}, {name: ToTensor, expand_dims: true}]",
            ["1 channel(s) into 2", "takes 1"],
        ),
    ] {
        let list = format!("{raw}={list}");
        let words = [words[0], words[1], "transformer", "t1.h5"];
        refused(&[&list], 2, &words);
        with_config("check", &config, &[&list]).failed_with(2, &words);
    }
    let mut hole = noise([1, 8, 16, 16], 1).index_axis(Axis(0), 0).to_owned();
    hole[[1, 2, 3]] = f32::NAN;
    let hole = lab.volume("hole.h5", &[("raw", hole.into_dyn())]);
    refused(&[&files(&hole)], 1, &["hole.h5", "NaN"]);
    let even = ndarray::Array3::from_elem((8, 16, 16), 3f32).into_dyn();
    let even = lab.volume("even.h5", &[("raw", even)]);
    refused(&[&files(&even)], 1, &["even.h5", "Normalize"]);
    // Two inputs of one name would write one output.
    let twice = format!(
        "loaders.test.file_paths=['{}', '{}']",
        lab.path("test/t1.h5").display(),
        lab.path("other/t1.h5").display()
    );
    fs::create_dir(lab.path("other")).unwrap();
    fs::copy(lab.path("test/t1.h5"), lab.path("other/t1.h5")).unwrap();
    let out = format!("loaders.output_dir={}", lab.path("out").display());
    refused(&[&twice, &out], 2, &["t1.h5", "both"]);
    // Nor is an input that another input's result would stand in for.
    fs::create_dir(lab.path("chain")).unwrap();
    for (from, to) in [("t1.h5", "a.h5"), ("t1_predictions.h5", "a_predictions.h5")] {
        fs::copy(lab.path("test").join(from), lab.path("chain").join(to)).unwrap();
    }
    let chain = [lab.path("chain/a.h5"), lab.path("chain/a_predictions.h5")];
    let both =
        format!("loaders.test.file_paths=['{}', '{}']", chain[0].display(), chain[1].display());
    refused(&[&both], 2, &["a_predictions.h5", "is an input", "output_dir"]);
    assert_eq!(fs::read(&chain[1]).unwrap(), before);
    // A file that is none of our outputs is not replaced.
    fs::create_dir(lab.path("mine")).unwrap();
    fs::copy(lab.path("test/t2.h5"), lab.path("mine/t2.h5")).unwrap();
    fs::write(lab.path("mine/t2_predictions.h5"), "my notes").unwrap();
    refused(&[&files(&lab.path("mine/t2.h5"))], 1, &["t2_predictions.h5", "not replaced"]);
    assert_eq!(fs::read_to_string(lab.path("mine/t2_predictions.h5")).unwrap(), "my notes");
    // Nor is a picture that is no preview of ours; our own is.
    fs::remove_file(lab.path("mine/t2_predictions.h5")).unwrap();
    let picture = lab.path("mine/t2_predictions.png");
    let preview = [&files(&lab.path("mine/t2.h5")), "predictor.preview=true"];
    with_config("predict", &config, &preview).succeeded();
    with_config("predict", &config, &preview).succeeded();
    let mut foreign = fs::read(&picture).unwrap();
    let mark = foreign.windows(8).position(|bytes| bytes == b"Software").unwrap();
    foreign[mark..mark + 8].copy_from_slice(b"softwarE");
    fs::write(&picture, &foreign).unwrap();
    refused(&preview, 1, &["t2_predictions.png", "not replaced"]);
    assert_eq!(fs::read(&picture).unwrap(), foreign);
}

/// A limit on the size of files stands for a disk that is full: both fail a write.
#[test]
fn an_output_that_cannot_be_written_ends_its_file_and_leaves_nothing() {
    let lab = lab();
    let config = lab.prediction();
    for compression in ["gzip", "none"] {
        // t2's result is small enough for the limit.
        let output = std::process::Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 48; exec \"$0\" \"$@\""])
            .arg(env!("CARGO_BIN_EXE_unet3d"))
            .args(["predict", "--threads", "1", "--config"])
            .arg(&config)
            .args(["--set", &format!("predictor.compression={compression}")])
            .output()
            .unwrap();
        let run = crate::support::program::Run::from(output);
        let run =
            run.failed_with(1, &["2 of 3 volume(s)", "t1_predictions.h5", "t10_predictions.h5"]);
        assert!(run.err.contains("File too large"), "{}", run.err);
        assert_eq!(outputs(&lab), ["t2_predictions.h5"]);
    }
}

#[test]
fn skip_existing_redoes_only_what_differs() {
    let lab = lab();
    let config = lab.prediction();
    let run = |options: &[&str]| {
        let mut command = program();
        command.args(["predict", "--skip-existing", "--threads", "1", "--config"]).arg(&config);
        for option in options {
            command.args(["--set", option]);
        }
        let run = crate::support::program::Run::from(command.output().unwrap()).succeeded();
        run.out.lines().filter(|line| line.contains("_predictions.h5")).count()
    };
    assert_eq!(run(&[]), 3);
    assert_eq!(run(&[]), 0);
    fs::remove_file(lab.path("test/t2_predictions.h5")).unwrap();
    assert_eq!(run(&[]), 1);
    assert_eq!(run(&["loaders.batch_size=2"]), 0, "the batch size changes no result");
    assert_eq!(run(&["predictor.blending=gaussian"]), 3);
    assert_eq!(run(&[]), 3);
    fs::remove_dir_all(lab.path("run")).unwrap();
    with_config("train", &lab.training(), &["trainer.iters=1"]).succeeded();
    assert_eq!(run(&[]), 3, "another checkpoint");
}

#[test]
fn shards_share_the_files() {
    let lab = lab();
    let config = lab.prediction();
    let shard = |arguments: &[&str]| {
        let config = config.display().to_string();
        unet3d(["predict", "--threads", "1", "--config", &config].iter().chain(arguments))
            .succeeded();
    };
    shard(&["--shard", "2/2"]);
    assert_eq!(outputs(&lab), ["t2_predictions.h5"]);
    let run = program()
        .args(["predict", "--shard", "slurm", "--threads", "1", "--config"])
        .arg(&config)
        .env("SLURM_ARRAY_TASK_ID", "4")
        .env("SLURM_ARRAY_TASK_MIN", "4")
        .env("SLURM_ARRAY_TASK_COUNT", "2")
        .output()
        .unwrap();
    assert!(run.status.success());
    assert_eq!(outputs(&lab).len(), 3);
    let config = config.display().to_string();
    unet3d(["predict", "--shard", "3/2", "--config", &config]).failed_with(2, &["3/2"]);
    unet3d(["predict", "--shard", "slurm", "--config", &config])
        .failed_with(2, &["SLURM_ARRAY_TASK_COUNT"]);
}

#[test]
fn a_signal_leaves_whole_outputs_and_the_rest_can_go_on() {
    let lab = lab();
    // Enough files that the signal comes in their midst.
    for number in 20..60 {
        fs::copy(lab.path("test/t1.h5"), lab.path(&format!("test/v{number}.h5"))).unwrap();
    }
    let config = lab.prediction();
    let mut child = program()
        .args(["predict", "--threads", "1", "--config"])
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let results = || -> Vec<PathBuf> {
        fs::read_dir(lab.path("test"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.display().to_string().ends_with("_predictions.h5"))
            .collect()
    };
    let started = Instant::now();
    while results().len() < 3 && started.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(5));
    }
    // SAFETY is the system's business here: kill is a program.
    let killed = std::process::Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(3), "a code of its own");
    let done = results();
    assert!(done.len() < 43, "the signal came too late to see anything");
    for path in &done {
        assert_eq!(read(path, "predictions").shape()[0], 2, "{}", path.display());
    }
    let partial = fs::read_dir(lab.path("test"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".partial"))
        .count();
    assert_eq!(partial, 0);
    let inodes = |paths: &[PathBuf]| -> Vec<u64> {
        paths.iter().map(|path| fs::metadata(path).unwrap().ino()).collect()
    };
    let before = inodes(&done);
    let config = config.display().to_string();
    unet3d(["predict", "--skip-existing", "--threads", "1", "--config", &config]).succeeded();
    assert_eq!(results().len(), 43);
    assert_eq!(inodes(&done), before, "what was done is not done again");
}
