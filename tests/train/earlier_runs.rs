//! A training run where an earlier one left its checkpoints and logs: what is refused,
//! what goes on, what is moved aside, and what the new scores are compared with.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::support::lab::Lab;
use crate::support::program::{Run, python, unet3d, with_config, with_flags};
use unet3d::checkpoint::{Checkpoint, PickleValue};

const LAST: &str = "run/last_checkpoint.pytorch";
const BEST: &str = "run/best_checkpoint.pytorch";

/// A folder with a run of five iterations, one validation, in `run/`.
fn lab() -> Lab {
    let lab = Lab::new();
    lab.balls("train.h5", [8, 16, 32], 1);
    lab.balls("val.h5", [8, 16, 16], 2);
    train(&lab, &[], &["trainer.iters=5"]).succeeded();
    lab
}

fn train(lab: &Lab, flags: &[&str], overrides: &[&str]) -> Run {
    with_flags("train", &lab.training(), flags, overrides)
}

/// Every file below a folder, with what is in it.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(contents(&path)),
            false => files.push((path.clone(), fs::read(&path).unwrap())),
        }
    }
    files.sort();
    files
}

/// The only folder below `run/` whose name begins so.
fn folder(lab: &Lab, start: &str) -> PathBuf {
    let entries = fs::read_dir(lab.path("run")).unwrap().map(|entry| entry.unwrap().path());
    let is_one = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(start);
    let found: Vec<_> = entries.filter(is_one).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}

fn number(lab: &Lab, name: &str) -> u64 {
    Checkpoint::read(&lab.path(name)).unwrap().num_iterations
}

fn event_files(folder: &Path) -> usize {
    let files = contents(folder);
    files.iter().filter(|(path, _)| path.to_str().unwrap().contains("tfevents")).count()
}

#[test]
fn an_earlier_run_is_not_replaced_without_being_asked_for() {
    let lab = lab();
    let before = contents(&lab.path("run"));
    let words = [
        "/run",
        "best_checkpoint.pytorch (iteration 5)",
        "last_checkpoint.pytorch",
        "--resume auto",
        "--overwrite",
        "trainer.checkpoint_dir",
    ];
    train(&lab, &[], &[]).failed_with(2, &words);
    // Neither where `resume` names nothing, nor from the weights or the run of elsewhere.
    train(&lab, &[], &["trainer.resume=/no/such.pytorch"]).failed_with(2, &words);
    fs::create_dir(lab.path("other")).unwrap();
    fs::copy(lab.path(LAST), lab.path("other/last_checkpoint.pytorch")).unwrap();
    let other = lab.path("other/last_checkpoint.pytorch").display().to_string();
    for key in ["resume", "pre_trained"] {
        train(&lab, &[], &[&format!("trainer.{key}={other}")]).failed_with(2, &words);
    }
    // A run of which one checkpoint is left, of whatever name; even if it is a link.
    for name in ["7_checkpoint.pytorch", "best_checkpoint.pytorch"] {
        let directory = lab.path(&format!("only_{name}"));
        fs::create_dir(&directory).unwrap();
        symlink("/nowhere", directory.join(name)).unwrap();
        let place = format!("trainer.checkpoint_dir={}", directory.display());
        train(&lab, &[], &[&place]).failed_with(2, &[name, "--overwrite"]);
    }
    assert!(contents(&lab.path("run")) == before, "nothing was touched");
    train(&lab, &["--overwrite", "--resume=auto"], &[]).failed_usage();
}

trait FailedUsage {
    fn failed_usage(self);
}

impl FailedUsage for Run {
    fn failed_usage(self) {
        assert_eq!(self.code, Some(2), "{}\n{}", self.out, self.err);
        assert!(self.err.contains("cannot be used with"), "{}", self.err);
    }
}

#[test]
fn overwrite_moves_checkpoints_and_logs_aside() {
    let lab = lab();
    fs::write(lab.path("run/notes.txt"), "mine").unwrap();
    let before = contents(&lab.path("run"));
    // Nothing is moved by a run that cannot begin.
    train(&lab, &["--overwrite"], &["loaders.val.file_paths=[/no/such.h5]"])
        .failed_with(2, &["/no/such.h5"]);
    assert!(contents(&lab.path("run")) == before);

    let run = train(&lab, &["--overwrite"], &["trainer.iters=3"]).succeeded();
    assert!(run.out.contains("moved to"), "{}", run.out);
    assert_eq!(number(&lab, LAST), 3);
    assert!(!lab.path(BEST).exists(), "the best one was the other run's");
    let aside = folder(&lab, "earlier_20");
    for (path, bytes) in before {
        let name = path.strip_prefix(lab.path("run")).unwrap();
        let now = match name.to_str().unwrap() {
            "notes.txt" | ".lock" => path.clone(),
            name => aside.join(name),
        };
        assert!(fs::read(&now).unwrap() == bytes, "{}", now.display());
    }
    assert_eq!(event_files(&lab.path("run/logs")), 1, "its own alone");

    // The flag wins over the key that would go on with what it moves.
    let resume = format!("trainer.resume={}", lab.path(LAST).display());
    let run = train(&lab, &["--overwrite"], &[&resume, "trainer.iters=2"]).succeeded();
    assert!(run.out.contains("`trainer.resume` is left out"), "{}", run.out);
    assert_eq!(number(&lab, LAST), 2);
    assert_eq!(
        contents(&lab.path("run")).iter().filter(|(p, _)| p.ends_with("notes.txt")).count(),
        1
    );
    // With nothing to move, it is any run.
    fs::remove_dir_all(lab.path("run")).unwrap();
    train(&lab, &["--overwrite"], &["trainer.iters=1"]).succeeded();
}

#[test]
fn pre_trained_may_lie_in_the_checkpoint_directory() {
    let lab = lab();
    let weights = fs::read(lab.path(BEST)).unwrap();
    for name in ["start.pytorch", "best_checkpoint.pytorch"] {
        let directory = lab.path("tuned");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(name), &weights).unwrap();
        // By another way to the same file.
        let from = format!("trainer.pre_trained={}/../tuned/{name}", directory.display());
        let to = format!("trainer.checkpoint_dir={}", directory.display());
        let run = train(&lab, &[], &[&from, &to, "trainer.iters=5"]).succeeded();
        assert!(run.out.contains("weights taken over"), "{}", run.out);
        let kept = contents(&directory).into_iter().filter(|(_, bytes)| *bytes == weights).count();
        assert_eq!(kept, 1, "{name} is there, by that name or moved aside");
        assert!(directory.join("best_checkpoint.pytorch").is_file(), "and the run's own");
        fs::remove_dir_all(&directory).unwrap();
    }
    // With another checkpoint beside it, there was a run.
    let from = format!("trainer.pre_trained={}", lab.path(BEST).display());
    train(&lab, &[], &[&from]).failed_with(2, &["last_checkpoint.pytorch", "--overwrite"]);
    assert!(fs::read(lab.path(BEST)).unwrap() == weights);
    let run = train(&lab, &["--overwrite"], &[&from, "trainer.iters=1"]).succeeded();
    assert!(run.out.contains("weights taken over"), "{}", run.out);
    assert!(fs::read(folder(&lab, "earlier_").join("best_checkpoint.pytorch")).unwrap() == weights);
}

#[test]
fn paths_of_resume_and_pre_trained_that_lead_to_no_file() {
    let lab = lab();
    let to = format!("trainer.checkpoint_dir={}", lab.path("new").display());
    let folder = lab.path("run");
    let fifo = lab.path("fifo.pytorch");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let dangling = lab.path("dangling.pytorch");
    symlink("/mnt/not_there", &dangling).unwrap();
    for (path, word) in
        [(&folder, "is a directory"), (&fifo, "no ordinary file"), (&dangling, "/mnt/not_there")]
    {
        for key in ["resume", "pre_trained"] {
            let option = format!("trainer.{key}={}", path.display());
            train(&lab, &[], &[&to, &option])
                .failed_with(2, &[&path.display().to_string(), &format!("trainer.{key}"), word]);
        }
    }
    train(&lab, &[], &[&to, "trainer.pre_trained=/no/such.pytorch"])
        .failed_with(2, &["/no/such.pytorch", "does not exist", "trainer.pre_trained"]);
    assert!(!lab.path("new").exists(), "nothing was made");

    fs::remove_file(lab.path(LAST)).unwrap();
    fs::create_dir(lab.path(LAST)).unwrap();
    train(&lab, &["--resume=auto"], &[]).failed_with(2, &["last_checkpoint.pytorch", "directory"]);
}

#[test]
fn a_run_without_its_last_checkpoint_goes_on_from_the_newest() {
    // As a kill during the first validation leaves it.
    let lab = lab();
    fs::remove_file(lab.path(LAST)).unwrap();
    train(&lab, &[], &[]).failed_with(2, &["best_checkpoint.pytorch", "--resume auto"]);
    let run = train(&lab, &["--resume=auto"], &["trainer.iters=6"]).succeeded();
    assert!(run.out.contains("going on after iteration 5"), "{}", run.out);
    fs::remove_file(lab.path(LAST)).unwrap();
    let resume = format!("trainer.resume={}", lab.path(LAST).display());
    let run = train(&lab, &[], &[&resume, "trainer.iters=7"]).succeeded();
    assert!(run.out.contains("going on after iteration 5"), "{}", run.out);
}

#[test]
fn a_run_that_was_killed_does_its_last_iterations_again_and_writes_the_same() {
    let lab = lab();
    let numbered = "trainer.checkpoint_after_iters=5";
    train(&lab, &["--overwrite"], &["trainer.iters=10", numbered]).succeeded();
    fs::remove_dir_all(lab.path("run/logs")).unwrap();
    let names = ["5_checkpoint.pytorch", "10_checkpoint.pytorch", "best_checkpoint.pytorch"];
    let state = |name: &str| {
        let checkpoint = Checkpoint::read(&lab.path("run").join(name)).unwrap();
        (checkpoint.num_iterations, checkpoint.model_state)
    };
    let before = names.map(state);
    // A kill before the last checkpoint of iteration 10 was written.
    fs::copy(lab.path("run").join(names[0]), lab.path(LAST)).unwrap();
    let aside = fs::read_dir(lab.path("run")).unwrap().count();
    train(&lab, &["--resume=auto"], &["trainer.iters=10", numbered]).succeeded();
    assert!(names.map(state) == before);
    assert_eq!(number(&lab, LAST), 10);
    // Only the logs are new.
    assert_eq!(fs::read_dir(lab.path("run")).unwrap().count(), aside + 1);
}

#[test]
fn going_back_to_an_older_checkpoint_keeps_the_newer_ones() {
    let lab = lab();
    let slow = "optimizer.learning_rate=0.001";
    train(
        &lab,
        &["--resume=auto"],
        &["trainer.iters=10", "trainer.checkpoint_after_iters=5", slow],
    )
    .succeeded();
    fs::copy(lab.path(LAST), lab.path("last")).unwrap();
    fs::copy(lab.path("run/10_checkpoint.pytorch"), lab.path(BEST)).unwrap();
    fs::remove_file(lab.path("run/10_checkpoint.pytorch")).unwrap();
    let old = lab.path("run/5_checkpoint.pytorch");
    // Of the first five iterations.
    let made = [lab.path("five"), old.clone()];
    let place = format!("trainer.checkpoint_dir={}", made[0].display());
    train(&lab, &[], &[&place, "trainer.iters=5"]).succeeded();
    fs::copy(made[0].join(LAST.trim_start_matches("run/")), &old).unwrap();

    let resume = format!("trainer.resume={}", old.display());
    let run = train(&lab, &[], &[&resume, "trainer.iters=6"]).succeeded();
    assert!(run.out.contains("going on after iteration 5"), "{}", run.out);
    assert_eq!(number(&lab, LAST), 6);
    let aside = folder(&lab, "earlier_");
    for name in ["last_checkpoint.pytorch", "best_checkpoint.pytorch"] {
        let kept = fs::read(aside.join(name)).unwrap();
        assert!(kept == fs::read(lab.path("last")).unwrap(), "{name}");
    }
    assert!(old.is_file(), "it stays");
}

#[test]
fn another_network_or_optimizer_is_another_run() {
    let lab = lab();
    let before = contents(&lab.path("run"));
    let resumed = |overrides: &[&str]| train(&lab, &["--resume=auto"], overrides);
    // Networks with weights of the same shapes.
    for (option, words) in [
        ("model.layer_order=gce", "`layer_order`"),
        ("model.num_groups=4", "`num_groups` was 2 and is 4"),
        ("model.pool_kernel_size=[1, 2, 2]", "`pool_kernel_size`"),
    ] {
        resumed(&[option]).failed_with(1, &["another network", words, "trainer.pre_trained"]);
    }
    let sgd = ["optimizer.algorithm=SGD", "optimizer.momentum=0.9"];
    resumed(&sgd).failed_with(1, &["Adam's", "is SGD", "optimizer.algorithm"]);
    assert!(contents(&lab.path("run")) == before);
    // Settings may change.
    resumed(&["optimizer.weight_decay=0.1", "trainer.iters=6"]).succeeded();

    // Of the Python program, which stores no configuration: SGD without momentum keeps
    // no tensors.
    fs::remove_dir_all(lab.path("run")).unwrap();
    train(&lab, &[], &["optimizer.algorithm=SGD", "optimizer.momentum=0", "trainer.iters=1"])
        .succeeded();
    strip(&lab.path(LAST));
    resumed(&[]).failed_with(1, &["another optimizer's", "is Adam"]);
}

/// Removes what the Python program does not store.
fn strip(path: &Path) {
    let code = "import sys, torch\n\
                state = torch.load(sys.argv[1], weights_only=False)\n\
                del state['unet3d']\n\
                torch.save(state, sys.argv[1])";
    let output = python().args(["-c", code]).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_best_score_of_another_kind_is_not_compared_with() {
    let lab = lab();
    let best = fs::read(lab.path(BEST)).unwrap();
    let ten = "trainer.iters=10";
    let resumed = |overrides: &[&str]| {
        let run = train(&lab, &["--resume=auto"], overrides).succeeded();
        let last = Checkpoint::read(&lab.path(LAST)).unwrap();
        (run, last)
    };
    // MSE of integers: as the labels are class indices, only overlap metrics are at hand.
    for overrides in [
        ["eval_metric.name=MeanIoU", ten],
        ["eval_metric.weight_equal=true", ten],
        ["trainer.eval_score_higher_is_better=false", ten],
    ] {
        let _ = fs::remove_dir_all(lab.path("kept"));
        copy(&lab.path("run"), &lab.path("kept"));
        let (run, last) = resumed(&overrides);
        assert!(run.out.contains("the first validation from here on counts"), "{}", run.out);
        assert!(run.out.contains("the best so far"), "{}", run.out);
        assert_eq!(number(&lab, BEST), 10);
        assert!(last.best_eval_score.is_finite());
        let scheduler = last.extra("scheduler").unwrap();
        let plateau = scheduler.get("best").and_then(PickleValue::as_float).unwrap();
        assert_eq!(plateau, last.best_eval_score, "the scheduler's too: {overrides:?}");
        let aside = folder(&lab, "earlier_").join("best_checkpoint.pytorch");
        assert!(fs::read(aside).unwrap() == best, "{overrides:?}");
        fs::remove_dir_all(lab.path("run")).unwrap();
        copy(&lab.path("kept"), &lab.path("run"));
    }
    // Said in other words, it is the same metric.
    let (run, _) = resumed(&["eval_metric={skip_channels: [], name: PixelWiseMeanIoU}", ten]);
    assert!(!run.out.contains("counts as the best"), "{}", run.out);
    let other =
        format!("loaders.val.file_paths=['{}']", lab.balls("v.h5", [8, 16, 16], 9).display());
    let (run, _) = resumed(&[&other, "trainer.iters=11"]);
    assert!(run.out.contains("was measured with another `loaders.val`"), "{}", run.out);

    // The Python program stores which way is better.
    strip(&lab.path(LAST));
    let (run, _) = resumed(&["trainer.eval_score_higher_is_better=false", "trainer.iters=12"]);
    assert!(run.out.contains("the first validation from here on counts"), "{}", run.out);
}

fn copy(from: &Path, to: &Path) {
    for (path, bytes) in contents(from) {
        let to = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, bytes).unwrap();
    }
}

#[test]
fn logs_of_runs_that_begin_anew_do_not_mix() {
    let lab = lab();
    for name in ["last", "best"] {
        fs::remove_file(lab.path(&format!("run/{name}_checkpoint.pytorch"))).unwrap();
    }
    let before = contents(&lab.path("run/logs"));
    let run = train(&lab, &[], &["trainer.iters=5"]).succeeded();
    assert!(run.out.contains("TensorBoard's files of an earlier run"), "{}", run.out);
    assert!(contents(&lab.path("run/logs")) == before);
    let own = folder(&lab, "logs_20");
    assert_eq!(event_files(&own), 1);
    // Its continuation belongs to it.
    train(&lab, &["--resume=auto"], &["trainer.iters=6"]).succeeded();
    assert!(contents(&lab.path("run/logs")) == before);
    assert_eq!(event_files(&own), 2);
}

#[test]
fn check_says_what_the_run_would() {
    let lab = lab();
    let run = with_config("check", &lab.training(), &[]).succeeded();
    assert!(run.out.contains("--resume auto"), "{}", run.out);
    let to = format!("trainer.checkpoint_dir={}", lab.path("new").display());
    let check = |options: &[&str]| with_config("check", &lab.training(), options);
    fs::write(lab.path("text.pytorch"), "no checkpoint").unwrap();
    let text = lab.path("text.pytorch").display().to_string();
    for key in ["resume", "pre_trained"] {
        check(&[&to, &format!("trainer.{key}={text}")]).failed_with(1, &[&text, "no checkpoint"]);
        let own = format!("trainer.{key}={}", lab.path(LAST).display());
        check(&[&to, &own]).succeeded();
        check(&[&to, &own, "model.f_maps=[4, 16]"]).failed_with(1, &["another network"]);
        let folder = format!("trainer.{key}={}", lab.path("run").display());
        check(&[&to, &folder]).failed_with(2, &["is a directory"]);
    }
    check(&[&to, "trainer.pre_trained=/no/such.pytorch"]).failed_with(2, &["/no/such.pytorch"]);
    for place in ["/proc/run", "/proc/version/run"] {
        let place = format!("trainer.checkpoint_dir={place}");
        check(&[&place]).failed_with(1, &["/proc/", "trainer.checkpoint_dir"]);
        train(&lab, &[], &[&place]).failed_with(1, &["/proc/", "trainer.checkpoint_dir"]);
    }
    let file = format!("trainer.checkpoint_dir={}", lab.path("train.h5/run").display());
    check(&[&file]).failed_with(1, &["train.h5/run"]);
    assert!(!lab.path("new").exists(), "and nothing is left behind");

    let predict = with_config("predict", &lab.prediction(), &[]);
    assert_ne!(predict.code, Some(0), "there is no test folder");
    fs::create_dir(lab.path("test")).unwrap();
    lab.balls("test/a.h5", [8, 16, 16], 3);
    with_config("check", &lab.prediction(), &["loaders.output_dir=/proc/out"])
        .failed_with(1, &["/proc/out"]);
    with_config("check", &lab.prediction(), &[&format!("model_path={text}")])
        .failed_with(1, &[&text]);
    with_config("check", &lab.prediction(), &[]).succeeded();
    let before = contents(lab.directory.path());
    unet3d(["check", "--config", lab.prediction().to_str().unwrap()]).succeeded();
    assert!(contents(lab.directory.path()) == before);
}
