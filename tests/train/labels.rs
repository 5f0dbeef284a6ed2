//! Labels, weights and scores that are no numbers, or hardly what was meant.

use std::fs;

use hdf5::File;
use ndarray::{Array3, ArrayD};

use crate::support::lab::{Lab, balls};
use crate::support::program::{Run, with_config};
use unet3d::checkpoint::{Checkpoint, PickleValue};

const LAZY: &str = "loaders.dataset=LazyHDF5Dataset";

fn lab() -> Lab {
    let lab = Lab::new();
    lab.balls("train.h5", [8, 16, 32], 1);
    lab.balls("val.h5", [8, 16, 16], 2);
    lab
}

/// A training file with labels and weights of these values, in float64 and float32.
fn volume(lab: &Lab, name: &str, label: ArrayD<f64>, weight: ArrayD<f32>) -> String {
    let (raw, _) = balls([8, 16, 32], 1);
    let path = lab.path(name);
    let file = File::create(&path).unwrap();
    file.new_dataset_builder().with_data(&raw).create("raw").unwrap();
    file.new_dataset_builder().with_data(&label).create("label").unwrap();
    file.new_dataset_builder().with_data(&weight).create("weight").unwrap();
    format!("loaders.train.file_paths=['{}']", path.display())
}

fn plain() -> (Array3<f64>, Array3<f32>) {
    let (_, label) = balls([8, 16, 32], 1);
    (label.mapv(f64::from), label.mapv(|label| 1.0 + label))
}

fn train(lab: &Lab, run: &str, overrides: &[&str]) -> Run {
    let to = format!("trainer.checkpoint_dir={}", lab.path(run).display());
    with_config("train", &lab.training(), &[&[&to[..], "trainer.iters=2"], overrides].concat())
}

#[test]
fn labels_and_weights_that_are_no_numbers_are_errors_that_say_where() {
    let lab = lab();
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let (mut label, mut weight) = plain();
        label[[3, 4, 5]] = value;
        let file = volume(&lab, "label.h5", label.into_dyn(), weight.clone().into_dyn());
        let words = ["label.h5", "`label`", "z 3, y 4, x 5", "ignore_index"];
        train(&lab, "run", &[&file]).failed_with(1, &words);
        train(&lab, "run", &[&file, LAZY]).failed_with(1, &words);
        with_config("check", &lab.training(), &[&file]).failed_with(1, &words);

        weight[[6, 7, 8]] = value as f32;
        let file = volume(&lab, "weight.h5", plain().0.into_dyn(), weight.into_dyn());
        let words = ["weight.h5", "`weight`", "z 6, y 7, x 8"];
        for dataset in ["loaders.dataset=StandardHDF5Dataset", LAZY] {
            train(&lab, "run", &[&file, dataset]).failed_with(1, &words);
        }
        with_config("check", &lab.training(), &[&file]).failed_with(1, &words);
    }
    assert!(!lab.path("run/last_checkpoint.pytorch").exists());
}

#[test]
fn what_is_hardly_meant_is_a_warning_that_says_where() {
    let lab = lab();
    let (label, weight) = plain();
    let mut fraction = label.clone();
    fraction[[3, 4, 5]] = 0.999_999_99;
    fraction[[3, 4, 6]] = 0.5;
    let mut negative = weight.clone();
    negative[[6, 7, 8]] = -1.0;
    let zeros = Array3::<f32>::zeros((8, 16, 32));
    let mut run = 0;
    for (name, label, weight, words) in [
        ("fraction.h5", &fraction, &weight, ["z 3, y 4, x 5 is 0.99999999", "1 more", "fraction"]),
        ("negative.h5", &label, &negative, ["z 6, y 7, x 8 is -1", "`weight`", "negative"]),
        ("zeros.h5", &label, &zeros, ["`weight`", "all weights are 0", "ignored throughout"]),
    ] {
        let file = volume(&lab, name, label.clone().into_dyn(), weight.clone().into_dyn());
        for dataset in ["loaders.dataset=StandardHDF5Dataset", LAZY] {
            run += 1;
            let said = train(&lab, &format!("run{run}"), &[&file, dataset]).succeeded().out;
            for word in [&[name][..], &words].concat() {
                assert!(said.contains(word), "'{word}' is not in: {said}");
            }
            let said = with_config("check", &lab.training(), &[&file, dataset]).succeeded().out;
            assert!(said.contains(name) && said.contains(words[0]), "{said}");
        }
    }
    let said = train(
        &lab,
        "weights",
        &["loss={name: CrossEntropyLoss, weight: [0, 0]}", "eval_metric.name=MeanIoU"],
    );
    let said = said.succeeded().out;
    assert!(said.contains("loss.weight") && said.contains("nothing is learned"), "{said}");
}

#[test]
fn ignored_patches_are_told_of_and_sparse_labels_are_not() {
    let lab = lab();
    let (mut label, mut weight) = plain();
    // The second of two patches side by side.
    label.slice_mut(ndarray::s![.., .., 16..]).fill(-1.0);
    let ignoring = ["loss.ignore_index=-1", "eval_metric.ignore_index=-1"];
    let file = volume(&lab, "ignored.h5", label.clone().into_dyn(), weight.clone().into_dyn());
    let mut options = vec![&file[..]];
    options.extend(ignoring);
    let words = ["ignored.h5", "of 2 patches are ignored throughout", "loss.ignore_index"];
    for (run, dataset) in [("memory", "loaders.dataset=StandardHDF5Dataset"), ("file", LAZY)] {
        let said = train(&lab, run, &[&options[..], &[dataset]].concat()).succeeded().out;
        for word in words {
            assert!(said.contains(word), "'{word}' is not in: {said}");
        }
        assert_eq!(said.matches("ignored throughout").count(), 1, "{said}");
    }
    let said = with_config("check", &lab.training(), &options).succeeded().out;
    assert!(said.contains("1 of 2 patches"), "{said}");
    // In part, whether by label or by weight: nothing unusual.
    label[[0, 0, 20]] = 1.0;
    weight.slice_mut(ndarray::s![.., .., ..8]).fill(0.0);
    let file = volume(&lab, "sparse.h5", label.into_dyn(), weight.into_dyn());
    for (run, dataset) in [("sparse", "loaders.dataset=StandardHDF5Dataset"), ("lazy", LAZY)] {
        let said = train(&lab, run, &[&file, ignoring[0], ignoring[1], dataset]).succeeded().out;
        assert!(!said.contains("WARN"), "{said}");
    }
}

#[test]
fn a_score_that_is_not_finite_is_never_the_best() {
    let lab = lab();
    // Weights that the class weights make infinite: the validation loss is, the score is not.
    let (_, label) = balls([8, 16, 16], 2);
    let (raw, _) = balls([8, 16, 16], 2);
    let weight = label.mapv(|_| f32::MAX);
    lab.volume(
        "heavy.h5",
        &[("raw", raw.into_dyn()), ("label", label.into_dyn()), ("weight", weight.into_dyn())],
    );
    let heavy = format!("loaders.val.file_paths=['{}']", lab.path("heavy.h5").display());
    let list =
        "loaders.val.transformer.weight=[{name: ToTensor, expand_dims: false, dtype: float32}]";
    let options = [&heavy[..], list, "loss.weight=[2, 2]", "trainer.iters=5"];
    let run = train(&lab, "run", &options).succeeded();
    assert!(run.out.contains("heavy.h5") && run.out.contains("is inf"), "{}", run.out);
    assert!(!run.out.contains("the best so far"), "{}", run.out);
    assert!(!lab.path("run/best_checkpoint.pytorch").exists());
    let last = Checkpoint::read(&lab.path("run/last_checkpoint.pytorch")).unwrap();
    assert_eq!(last.best_eval_score, f64::NEG_INFINITY);
    let best = last.extra("scheduler").unwrap().get("best").and_then(PickleValue::as_float);
    assert_eq!(best, Some(f64::NEG_INFINITY), "the scheduler's neither");
}

#[test]
fn weights_that_are_not_finite_are_neither_saved_nor_started_from() {
    let lab = lab();
    train(&lab, "run", &["trainer.iters=5"]).succeeded();
    let last = lab.path("run/last_checkpoint.pytorch");
    let good = fs::read(&last).unwrap();
    // A step so long that the weights leave the range of float32; the loss before it is
    // finite.
    let option = format!("trainer.checkpoint_dir={}", lab.path("run").display());
    let long =
        ["trainer.iters=6", "trainer.validate_after_iters=1", "optimizer.learning_rate=1e39"];
    let config = lab.training();
    let run = crate::support::program::with_flags(
        "train",
        &config,
        &["--resume=auto"],
        &[&[&option[..]], &long[..]].concat(),
    );
    run.failed_with(1, &["iteration 6", "NaN or infinite", "learning_rate"]);
    assert!(fs::read(&last).unwrap() == good, "the last checkpoint stays");

    let mut broken = Checkpoint::read(&last).unwrap();
    let (name, tensor) = &mut broken.model_state[2];
    tensor.bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let name = name.clone();
    let path = lab.path("nan.pytorch");
    broken.write(&path).unwrap();
    for key in ["resume", "pre_trained"] {
        let option = format!("trainer.{key}={}", path.display());
        train(&lab, "new", &[&option]).failed_with(1, &["nan.pytorch", &name, "NaN"]);
    }
}

#[test]
fn training_data_has_no_infinite_weights() {
    let run = crate::support::program::unet3d([
        "make-training-data",
        "--raw=a",
        "--label=b",
        "--output=c",
        "--gap=1e39",
    ]);
    assert_eq!(run.code, Some(2), "{}", run.err);
    assert!(run.err.contains("--gap") && run.err.contains("1e30"), "{}", run.err);
}
