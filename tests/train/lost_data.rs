//! Data files that vanish or change while `unet3d` reads them, and loader threads that
//! panic: one error that names the cause, no hang, and no lost work.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::learners::learner_spec;
use crate::support::lab::Lab;
use crate::support::program::{Run, program, with_config};
use crate::support::tree;
use log::LevelFilter;
use unet3d::checkpoint::Checkpoint;
use unet3d::device::Precision;
use unet3d::distributed::Group;
use unet3d::runtime::report::Reporter;
use unet3d::samples::{Loader, Origin, SampleSet};
use unet3d::train::{Criteria, Learner, StepSize, Trainer, TrainerSpec, TrainingData, TrainingRun};
use unet3d::volume::{Sample, Volume, Voxels};

fn start(command: &str, config: &Path, options: &[&str]) -> Child {
    let mut program = program();
    program.args([command, "--threads", "1", "--config"]).arg(config);
    for option in options {
        program.args(["--set", option]);
    }
    program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(300), "{what} never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for the end of a run; kills a run that hangs.
fn end(mut child: Child) -> Run {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > Duration::from_secs(300) {
            child.kill().unwrap();
            panic!("the run hangs");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Run::from(child.wait_with_output().unwrap())
}

type Harm = fn(&Path);

/// An event that a file in use may meet, and the words of the message.
const HARMS: [(&str, Harm); 4] = [
    ("was removed", |path| fs::remove_file(path).unwrap()),
    ("another file took the place", |path| {
        let other = path.with_extension("new");
        fs::copy(path, &other).unwrap();
        fs::rename(&other, path).unwrap();
    }),
    ("was changed", |path| {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(3000).unwrap();
    }),
    ("was changed", |path| fs::write(path, "something else").unwrap()),
];

#[test]
fn training_stops_on_files_that_change_and_keeps_what_it_learned() {
    let lab = Lab::new();
    lab.balls("train.h5", [16, 32, 32], 1);
    lab.balls("val.h5", [8, 16, 16], 2);
    let config = lab.training();
    let last = lab.path("run/last_checkpoint.pytorch");
    let whole = fs::read(lab.path("train.h5")).unwrap();
    for (says, harm) in HARMS {
        fs::write(lab.path("train.h5"), &whole).unwrap();
        let options = ["trainer.iters=100000", "loaders.dataset=LazyHDF5Dataset"];
        let child = start("train", &config, &options);
        wait_for("a checkpoint", || last.exists());
        harm(&lab.path("train.h5"));
        let run = end(child);
        let done = Checkpoint::read(&last).unwrap().num_iterations;
        let next = format!("the samples of iteration {} cannot be made", done + 1);
        run.failed_with(1, &["train.h5", says, &next, "last_checkpoint.pytorch"]);

        fs::write(lab.path("train.h5"), &whole).unwrap();
        let resume = format!("trainer.resume={}", last.display());
        let iters = format!("trainer.iters={}", done + 1);
        with_config("train", &config, &[&resume, &iters]).succeeded();
        assert_eq!(Checkpoint::read(&last).unwrap().num_iterations, done + 1);
        fs::remove_dir_all(lab.path("run")).unwrap();
    }
}

#[test]
fn prediction_reports_files_that_change_and_does_the_others() {
    let lab = Lab::new();
    lab.balls("train.h5", [16, 32, 32], 1);
    lab.balls("val.h5", [8, 16, 16], 2);
    with_config("train", &lab.training(), &["trainer.iters=2", "trainer.validate_after_iters=2"])
        .succeeded();
    fs::create_dir(lab.path("test")).unwrap();
    // Some thousands of patches, so that the run is not over before the event.
    lab.balls("test/t1.h5", [60, 160, 160], 3);
    lab.balls("test/t2.h5", [8, 16, 16], 4);
    let config = lab.prediction();
    let whole = fs::read(lab.path("test/t1.h5")).unwrap();
    for (says, harm) in HARMS {
        fs::write(lab.path("test/t1.h5"), &whole).unwrap();
        let child = start("predict", &config, &["predictor.name=LazyPredictor"]);
        let begun = || {
            let names = fs::read_dir(lab.path("test")).unwrap();
            let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.any(|name| name.starts_with(".t1_predictions.h5."))
        };
        wait_for("the output", begun);
        harm(&lab.path("test/t1.h5"));
        end(child).failed_with(1, &["1 of 2 volume(s)", "t1.h5", says]);
        assert!(!lab.path("test/t1_predictions.h5").exists(), "{says}");
        fs::remove_file(lab.path("test/t2_predictions.h5")).expect("the other one was predicted");
        let left = fs::read_dir(lab.path("test")).unwrap().count();
        assert!(left <= 2, "nothing unfinished is left");
    }
}

/// A set of samples of which one cannot be made.
struct Faulty;

impl SampleSet for Faulty {
    fn len(&self) -> usize {
        8
    }

    fn sample(&self, _: u64, index: usize) -> anyhow::Result<Sample> {
        assert!(index != 5, "five is out of the question");
        let volume = |value: f32| {
            let values = ndarray::Array4::from_elem((1, 8, 16, 16), value).into();
            Volume { values, has_channels: true }
        };
        Ok(Sample { raw: volume(0.5), label: Some(Voxels::Dense(volume(1.0))), weight: None })
    }

    fn origin(&self, _: u64, index: usize) -> Origin {
        Origin { path: format!("volume{index}.h5").into(), window: None }
    }

    fn sample_bytes(&self) -> usize {
        1 << 16
    }
}

#[test]
fn a_worker_that_panics_ends_training_with_its_cause() {
    let lab = Lab::new();
    let yaml = "
model: {name: UNet3D, in_channels: 1, out_channels: 1, f_maps: [4, 8], num_groups: 2}
trainer: {checkpoint_dir: @/run, on_nan: stop}
optimizer: {learning_rate: 0.001, weight_decay: 0}
loss: {name: BCEWithLogitsLoss}
"
    .replace('@', &lab.path("").display().to_string());
    let tree = tree(&yaml);
    let node = |name: &str| tree.root.get(name).unwrap();
    let step = StepSize { processes: 1, batch_size: 1, accumulate: 1 };
    let spec = learner_spec(&tree, Precision::Fp32, step);
    let loader = || Loader::new(Arc::new(Faulty), 1, 2, 1 << 30);
    let run = TrainingRun {
        learner: Learner::new(spec, tch::Device::Cpu).unwrap(),
        criteria: Criteria {
            loss: unet3d::loss::read(node("loss")).unwrap(),
            metric: unet3d::metric::read(&tree.root).unwrap(),
        },
        data: TrainingData { train: loader(), val: loader() },
        spec: TrainerSpec::read(node("trainer")).unwrap(),
        configuration: String::new(),
        logs: "logs".into(),
        stop: Arc::new(AtomicBool::new(false)),
        group: &Group::alone(),
    };
    let error = Trainer::new(run, &Reporter::start(LevelFilter::Warn)).fit().unwrap_err();
    let error = format!("{error:#}");
    for says in ["volume5.h5", "panicked", "five is out of the question", "iteration 6"] {
        assert!(error.contains(says), "'{says}' is not in: {error}");
    }
    let last = Checkpoint::read(&lab.path("run/last_checkpoint.pytorch")).unwrap();
    assert_eq!(last.num_iterations, 5, "what was learned before is kept");
}
