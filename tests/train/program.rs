//! `unet3d train` as a user runs it: its output, that it learns, that a resumed run equals
//! an uninterrupted one, and its messages for bad input.

use std::fs;
use std::path::Path;

use crate::support::lab::{Lab, balls};
use crate::support::program::{script, unet3d, with_config, with_flags};
use ndarray::{Array2, Array3};
use unet3d::checkpoint::{Checkpoint, TensorData};

fn lab() -> Lab {
    let lab = Lab::new();
    lab.balls("train.h5", [16, 32, 32], 1);
    lab.balls("val.h5", [16, 16, 32], 2);
    lab
}

fn last(lab: &Lab, run: &str) -> Checkpoint {
    Checkpoint::read(&lab.path(run).join("last_checkpoint.pytorch")).unwrap()
}

/// The parts of a checkpoint that determine the rest of a run.
fn state(checkpoint: &Checkpoint) -> (Vec<(String, TensorData)>, String) {
    let optimizer = format!("{:?}", checkpoint.optimizer);
    let rest = format!(
        "{} {} {} {:?} {:?} {optimizer}",
        checkpoint.epoch,
        checkpoint.num_iterations,
        checkpoint.best_eval_score,
        checkpoint.extra("progress"),
        checkpoint.extra("scheduler"),
    );
    (checkpoint.model_state.clone(), rest)
}

#[test]
fn writes_checkpoints_logs_and_dumps_in_an_empty_environment() {
    let lab = lab();
    let dumps = format!("trainer.h5_dir={}", lab.path("dumps").display());
    let run = with_config(
        "train",
        &lab.training(),
        &[&dumps, "trainer.checkpoint_after_iters=10", "trainer.iters=12"],
    )
    .succeeded();
    assert!(run.out.contains("12 iterations done"), "{}", run.out);
    assert!(run.out.lines().all(|line| line.starts_with("20")), "dated lines: {}", run.out);
    for name in ["last", "best", "10"] {
        assert!(lab.path(&format!("run/{name}_checkpoint.pytorch")).is_file(), "{name}");
    }
    assert!(!lab.path("run/5_checkpoint.pytorch").exists());
    assert_eq!(last(&lab, "run").num_iterations, 12);

    let dump = hdf5::File::open(lab.path("dumps/iter_4.h5")).unwrap();
    assert_eq!(dump.dataset("raw").unwrap().shape(), [2, 1, 8, 16, 16]);
    assert_eq!(dump.dataset("label").unwrap().shape(), [2, 8, 16, 16]);
    assert!(dump.dataset("weight").unwrap().dtype().unwrap().is::<f32>());
    assert!(lab.path("dumps/iter_12.h5").is_file());

    let logs = format!("run={}", lab.path("run/logs").display());
    let events = script("read_events.py", [logs]);
    for (tag, step) in [
        ("train_loss_avg", 4),
        ("train_eval_score_avg", 8),
        ("val_loss_avg", 5),
        ("val_eval_score_avg", 10),
        ("learning_rate", 10),
    ] {
        let start = format!("run {tag} {step} ");
        assert!(events.lines().any(|line| line.starts_with(&start)), "{tag} {step}: {events}");
    }
    for tag in [
        "histograms encoders.0.basic_module.SingleConv1.conv.weight 3",
        "histograms final_conv.bias/grad 3",
        "images inputs/batch_1/channel_0/slice_4 3",
        "images targets/batch_0/channel_0/slice_4 3",
        "images predictions/batch_1/channel_1/slice_4 3",
    ] {
        assert!(events.contains(&format!("run {tag}")), "{tag}: {events}");
    }
}

/// Content and modification time of a file.
fn stamp(path: &Path) -> (Vec<u8>, std::time::SystemTime) {
    (fs::read(path).unwrap(), fs::metadata(path).unwrap().modified().unwrap())
}

#[test]
fn what_others_wrote_stays_as_it_is() {
    let lab = lab();
    let mine = ["dumps/iter_4.h5", "run/.lock", "run/notes_checkpoint.pytorch", "run/logs/notes"];
    for folder in ["dumps", "run/logs"] {
        fs::create_dir_all(lab.path(folder)).unwrap();
    }
    for name in mine {
        fs::write(lab.path(name), "my notes").unwrap();
    }
    let files = [&mine[..], &["train.h5", "val.h5", "train.yaml"]].concat();
    let config = lab.training();
    let before: Vec<_> = files.iter().map(|name| stamp(&lab.path(name))).collect();
    let dumps = format!("trainer.h5_dir={}", lab.path("dumps").display());
    for (dataset, place) in [("StandardHDF5Dataset", "run"), ("LazyHDF5Dataset", "lazy")] {
        let dataset = format!("loaders.dataset={dataset}");
        let place = format!("trainer.checkpoint_dir={}", lab.path(place).display());
        let overrides = [&dumps[..], &dataset, &place];
        let run = with_config("train", &config, &overrides).succeeded();
        assert!(run.out.contains("iter_4.h5: exists and is not replaced"), "{}", run.out);
        with_config("check", &config, &overrides).succeeded();
        for (name, before) in files.iter().zip(&before) {
            assert!(stamp(&lab.path(name)) == *before, "{name} was changed");
        }
    }
    let left = fs::read_dir(lab.path("dumps")).unwrap().count();
    assert_eq!(left, 2, "iter_4.h5, which was there, and iter_8.h5");
}

#[test]
fn learns_what_it_is_shown() {
    let lab = lab();
    with_config(
        "train",
        &lab.training(),
        &[
            "trainer.iters=120",
            "trainer.validate_after_iters=40",
            "trainer.log_after_iters=1000",
            "lr_scheduler.patience=50",
        ],
    )
    .succeeded();
    let score = last(&lab, "run").best_eval_score;
    assert!(score > 0.6, "a weighted IoU of {score} after 120 iterations");
}

#[test]
fn a_resumed_run_is_the_same_run_whatever_the_number_of_workers() {
    let lab = lab();
    // One thread, because libtorch's sums on several threads may differ between runs.
    let train = |run: &str, iters: u64, workers: u64, resume: bool| {
        let config = lab.training();
        let mut arguments =
            vec!["train".to_string(), "--config".into(), config.display().to_string()];
        arguments.extend(["--threads".into(), "1".into()]);
        if resume {
            arguments.extend(["--resume".into(), "auto".into()]);
        }
        for option in [
            format!("trainer.checkpoint_dir={}", lab.path(run).display()),
            format!("trainer.iters={iters}"),
            format!("loaders.num_workers={workers}"),
        ] {
            arguments.extend(["--set".into(), option]);
        }
        unet3d(&arguments).succeeded();
    };
    // An epoch has four batches: iterations 10 and 7 are within an epoch, 8 is the end of one.
    train("whole", 20, 2, false);
    let whole = state(&last(&lab, "whole"));
    for stop in [7, 8, 10] {
        let run = format!("parts{stop}");
        train(&run, stop, 1, true);
        assert_eq!(last(&lab, &run).num_iterations, stop);
        train(&run, 20, 3, true);
        let parts = state(&last(&lab, &run));
        assert_eq!(whole.1, parts.1, "stopped at {stop}");
        assert!(whole.0 == parts.0, "weights differ after stopping at {stop}");
    }
}

#[test]
fn pre_trained_takes_weights_alone_and_resume_without_a_file_starts_afresh() {
    let lab = lab();
    let config = lab.training();
    with_config("train", &config, &["trainer.iters=3"]).succeeded();
    let weights = last(&lab, "run");
    let from = format!("trainer.pre_trained={}", lab.path("run/last_checkpoint.pytorch").display());
    let to = format!("trainer.checkpoint_dir={}", lab.path("tuned").display());
    with_config("train", &config, &[&from, &to, "trainer.iters=1", "optimizer.learning_rate=1e-7"])
        .succeeded();
    let tuned = last(&lab, "tuned");
    assert_eq!(tuned.num_iterations, 1);
    for ((name, a), (_, b)) in weights.model_state.iter().zip(&tuned.model_state) {
        let distance =
            a.to_f64().iter().zip(b.to_f64()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(distance < 1e-5, "{name}");
    }
    let to = format!("trainer.checkpoint_dir={}", lab.path("fresh").display());
    let run =
        with_config("train", &config, &[&to, "trainer.resume=/nowhere.pytorch", "trainer.iters=1"])
            .succeeded();
    assert!(run.out.contains("starting afresh"), "{}", run.out);
}

#[test]
fn the_python_program_can_load_what_is_written() {
    let lab = lab();
    with_config("train", &lab.training(), &["trainer.iters=3"]).succeeded();
    let printed = script("load_checkpoint.py", [lab.path("run/last_checkpoint.pytorch")]);
    assert!(printed.contains("iteration 3 epoch 1 parameters"), "{printed}");
}

#[test]
fn the_learning_rate_ends_a_run_and_leaves_a_checkpoint() {
    let lab = lab();
    let run = with_config("train", &lab.training(), &["optimizer.learning_rate=1e-7"]).succeeded();
    assert!(run.out.contains("learning rate fell below 1e-6"), "{}", run.out);
    assert_eq!(last(&lab, "run").num_iterations, 1);
    let to = format!("trainer.checkpoint_dir={}", lab.path("other").display());
    let limits = [&to[..], "trainer.epochs=2", "trainer.iters=1000"];
    let run = with_config("train", &lab.training(), &limits).succeeded();
    assert!(run.out.contains("2 epochs done"), "{}", run.out);
    assert_eq!(last(&lab, "other").num_iterations, 8);
}

/// Runs the training configuration and wants it refused, without having lost a
/// checkpoint that was there, which it might have moved aside.
fn refused(lab: &Lab, overrides: &[&str], code: i32, words: &[&str]) {
    fs::create_dir_all(lab.path("run")).unwrap();
    let old = lab.path("run/last_checkpoint.pytorch");
    fs::write(&old, "last year's").unwrap();
    with_flags("train", &lab.training(), &["--overwrite"], overrides).failed_with(code, words);
    // Samples are made after that: then it is among those that were moved.
    let places = fs::read_dir(lab.path("run")).unwrap().map(|entry| entry.unwrap().path());
    let places = places.map(|folder| folder.join("last_checkpoint.pytorch")).chain([old]);
    let found = places.filter_map(|path| fs::read_to_string(path).ok());
    assert_eq!(found.filter(|text| text == "last year's").count(), 1);
    fs::remove_dir_all(lab.path("run")).unwrap();
}

fn files(path: &Path) -> String {
    format!("loaders.train.file_paths=['{}']", path.display())
}

#[test]
fn bad_volumes_are_refused_with_file_key_and_cure() {
    let lab = lab();
    let (raw, label) = balls([16, 32, 32], 5);
    let weight = raw.clone().into_dyn();

    refused(&lab, &["loaders.train.file_paths=[/no/such.h5]"], 2, &["/no/such.h5", "file_paths"]);
    fs::write(lab.path("text.h5"), "not an HDF5 file").unwrap();
    refused(&lab, &[&files(&lab.path("text.h5"))], 1, &["text.h5", "HDF5"]);
    let path =
        lab.volume("bare.h5", &[("raw", raw.clone().into_dyn()), ("weight", weight.clone())]);
    refused(&lab, &[&files(&path)], 1, &["bare.h5", "label", "label_internal_path"]);
    let flat = Array2::<f32>::zeros((32, 32)).into_dyn();
    let path =
        lab.volume("flat.h5", &[("raw", flat.clone()), ("label", flat.clone()), ("weight", flat)]);
    refused(&lab, &[&files(&path)], 1, &["flat.h5", "raw", "(D, H, W)"]);
    let short = Array3::<f32>::zeros((15, 32, 32)).into_dyn();
    let path = lab.volume(
        "short.h5",
        &[("raw", raw.clone().into_dyn()), ("label", short), ("weight", weight.clone())],
    );
    refused(&lab, &[&files(&path)], 1, &["short.h5", "label", "[15, 32, 32]", "[16, 32, 32]"]);
    let classes = label.mapv(|label| 4.0 * label).into_dyn();
    let path = lab.volume(
        "classes.h5",
        &[("raw", raw.clone().into_dyn()), ("label", classes), ("weight", weight.clone())],
    );
    refused(&lab, &[&files(&path)], 1, &["classes.h5", "label 4", "model.out_channels"]);
    let mut hole = raw.clone();
    hole[[3, 4, 5]] = f32::NAN;
    let label = label.into_dyn();
    let path = lab.volume(
        "nan.h5",
        &[("raw", hole.into_dyn()), ("label", label.clone()), ("weight", weight.clone())],
    );
    refused(&lab, &[&files(&path)], 1, &["nan.h5", "raw", "NaN"]);
    let even = Array3::from_elem((16, 32, 32), 7f32).into_dyn();
    let path = lab.volume("even.h5", &[("raw", even), ("label", label), ("weight", weight)]);
    refused(&lab, &[&files(&path)], 2, &["even.h5", "Normalize"]);
    fs::create_dir(lab.path("empty")).unwrap();
    refused(&lab, &[&files(&lab.path("empty"))], 2, &["empty", "file_paths"]);
}

#[test]
fn bad_settings_are_refused_with_key_and_cure() {
    let lab = lab();
    let patch = "loaders.train.slice_builder.patch_shape=[8, 64, 16]";
    refused(&lab, &[patch], 2, &["train.h5", "patch_shape", "64", "32"]);
    refused(&lab, &["loaders.val.file_paths=loaders"], 2, &["loaders.val.file_paths"]);
    let same = format!("loaders.val.file_paths=['{}']", lab.path("train.h5").display());
    refused(&lab, &[&same], 2, &["train.h5", "loaders.val.file_paths"]);
    refused(
        &lab,
        &["loaders.weight_internal_path=null"],
        2,
        &["PixelWiseCrossEntropyLoss", "weight_internal_path"],
    );
    refused(&lab, &["model.in_channels=3", "model.num_groups=1"], 2, &["in_channels", "1 channel"]);
    refused(&lab, &["trainer.iters=many"], 2, &["trainer.iters", "integer", "many"]);
    refused(&lab, &["loss.name=DiceLoss"], 2, &["DiceLoss", "label"]);
    refused(
        &lab,
        &[
            "loaders.train.transformer.raw.2.force_180=false",
            "loaders.train.transformer.label.1.force_180=false",
            "loaders.train.slice_builder.patch_shape=[8, 16, 32]",
        ],
        2,
        &["force_180", "batch_size"],
    );
    // A directory cannot be made below a file.
    let below = format!("trainer.checkpoint_dir={}", lab.path("train.h5/run").display());
    refused(&lab, &[&below], 1, &["train.h5/run", "trainer.checkpoint_dir"]);
}

#[test]
fn a_checkpoint_of_another_network_is_refused_naming_its_tensors() {
    let lab = lab();
    let config = lab.training();
    with_config("train", &config, &["trainer.iters=1"]).succeeded();
    let from = format!("trainer.resume={}", lab.path("run/last_checkpoint.pytorch").display());
    with_config("train", &config, &[&from, "model.f_maps=[4, 16]"]).failed_with(
        1,
        &["last_checkpoint.pytorch", "encoders.1.basic_module.SingleConv2.conv.weight", "model"],
    );
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_or_is_left_out() {
    let lab = lab();
    let config = lab.training();
    let (raw, label) = balls([16, 32, 32], 1);
    let weight = label.mapv(|label| if label > 0.0 { f32::MAX } else { 1.0 });
    let path = lab.volume(
        "heavy.h5",
        &[("raw", raw.into_dyn()), ("label", label.into_dyn()), ("weight", weight.into_dyn())],
    );
    let lists = "loaders.train.transformer.weight=[{name: RandomFlip}, {name: RandomRotate90, force_180: true}, {name: ToTensor, expand_dims: false, dtype: float32}]";
    let class = "loss.weight=[2, 2]";
    with_config("train", &config, &[&files(&path), lists, class])
        .failed_with(1, &["iteration 1", "heavy.h5", "learning_rate", "on_nan"]);
    let run = with_config(
        "train",
        &config,
        &[&files(&path), lists, class, "trainer.on_nan=skip", "trainer.iters=2"],
    )
    .succeeded();
    assert!(run.out.contains("left out"), "{}", run.out);
    for (name, tensor) in last(&lab, "run").model_state {
        assert!(tensor.to_f64().iter().all(|value| value.is_finite()), "{name}");
    }
}
