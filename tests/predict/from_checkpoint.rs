//! `unet3d predict --checkpoint`, and configurations that contradict their checkpoint.

use std::fs;
use std::path::Path;

use hdf5::File;

use crate::program::lab;
use crate::support::lab::{Lab, read};
use crate::support::program::{Run, program, unet3d, with_config};
use unet3d::checkpoint::Checkpoint;

/// What `--checkpoint` does, said in a configuration.
const AS_TRAINED: [&str; 5] = [
    "loaders.mirror_padding=[0, 0, 0]",
    "loaders.test.slice_builder.stride_shape=[4, 8, 8]",
    "predictor.patch_halo=[0, 0, 0]",
    "predictor.blending=gaussian",
    "loaders.batch_size=1",
];

fn predict(checkpoint: &Path, more: &[&str]) -> Run {
    let mut run = program();
    run.args(["predict", "--threads", "1", "--checkpoint"]).arg(checkpoint).args(more);
    run.output().expect("the program starts").into()
}

fn checkpoint(lab: &Lab) -> std::path::PathBuf {
    lab.path("run/last_checkpoint.pytorch")
}

#[test]
fn a_checkpoint_alone_predicts_as_it_was_trained() {
    let lab = lab();
    let (images, output) = (lab.path("test"), lab.path("out"));
    let [images, output] = [&images, &output].map(|path| path.to_str().unwrap());
    let names = "class_names=[background, ball]";
    let run = predict(&checkpoint(&lab), &[images, "--output", output, "--set", names]);
    let run = run.succeeded();
    assert!(!run.out.contains("WARN"), "{}", run.out);
    with_config("predict", &lab.prediction(), &AS_TRAINED).succeeded();
    for name in ["t1", "t2", "t10"] {
        let name = format!("{name}_predictions.h5");
        let expected = read(&lab.path("test").join(&name), "predictions");
        assert_eq!(read(&lab.path("out").join(&name), "predictions"), expected, "{name}");
    }
    let file = File::open(lab.path("out/t1_predictions.h5")).unwrap();
    let told = unet3d(["info", "--no-voxels", &file.filename()]).succeeded().out;
    assert!(told.contains("channels: (background, ball)"), "{told}");
    let told = unet3d(["info", checkpoint(&lab).to_str().unwrap()]).succeeded().out;
    assert!(told.contains("training data: ") && told.contains("files 1"), "{told}");
}

#[test]
fn class_names_that_do_not_fit_are_refused() {
    let lab = lab();
    let images = lab.path("test");
    let names = ["--set", "class_names=[ball]"];
    predict(&checkpoint(&lab), &[&[images.to_str().unwrap()], &names[..]].concat())
        .failed_with(2, &["class_names", "1 name(s) for 2 output channel(s)"]);
}

#[test]
fn a_checkpoint_that_tells_nothing_needs_a_configuration() {
    let lab = lab();
    let mut bare = Checkpoint::read(&checkpoint(&lab)).unwrap();
    bare.extra.clear();
    let path = lab.path("python.pytorch");
    bare.write(&path).unwrap();
    let images = lab.path("test");
    let words = ["python.pytorch", "does not tell how it was trained", "--config"];
    predict(&path, &[images.to_str().unwrap()]).failed_with(1, &words);
    let config = lab.prediction();
    let model = format!("model_path={}", path.display());
    let run = with_config(
        "predict",
        &config,
        &[&model, "loaders.test.transformer.raw=[{name: ToTensor, expand_dims: true}]"],
    );
    assert!(!run.succeeded().out.contains("WARN"));
}

#[test]
fn what_contradicts_the_checkpoint_is_told_in_a_line() {
    let lab = lab();
    let config = lab.prediction();
    let plain = with_config("predict", &config, &[]).succeeded();
    assert!(!plain.out.contains("WARN"), "{}", plain.out);
    let raw = |steps: &str| {
        format!("loaders.test.transformer.raw=[{steps}{{name: ToTensor, expand_dims: true}}]")
    };
    for (option, words) in [
        (raw(""), "trained with Normalize, predicting without"),
        (raw("{name: Standardize}, "), "trained with Normalize, predicting with Standardize"),
        (
            raw("{name: Normalize, max_value: 300}, "),
            "trained with Normalize, predicting with Normalize {max_value: 300}",
        ),
        ("model.layer_order=gce".into(), "the network is another: `layer_order` was absent"),
    ] {
        let run = with_config("predict", &config, &[&option]).succeeded();
        let lines: Vec<_> = run.out.lines().filter(|line| line.contains("WARN")).collect();
        assert_eq!(lines.len(), 1, "{}", run.out);
        assert!(lines[0].contains(words) && lines[0].contains("last_checkpoint"), "{}", lines[0]);
        let run = with_config("check", &config, &[&option]).succeeded();
        assert!(run.out.contains(words), "{}", run.out);
    }
}

#[test]
fn flags_that_do_not_go_together() {
    for (flags, word) in [
        (&["--checkpoint", "a", "--config", "b", "c"][..], "--config"),
        (&["--checkpoint", "a"], "INPUT"),
        (&["images"], "--checkpoint"),
        (&[], "--config"),
    ] {
        let run = unet3d([&["predict"], flags].concat());
        assert_eq!(run.code, Some(2), "{}", run.err);
        assert!(run.err.contains(word), "{}", run.err);
    }
    let lab = Lab::new();
    fs::write(lab.path("a.pytorch"), "no checkpoint").unwrap();
    predict(&lab.path("a.pytorch"), &["images"]).failed_with(1, &["a.pytorch", "is no checkpoint"]);
}
