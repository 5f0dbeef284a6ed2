//! Events that stop a training run and the state they leave: signals, a second run, a
//! removed folder.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::lab::Lab;
use crate::support::program::{Run, program, unet3d, with_config};
use unet3d::checkpoint::Checkpoint;

fn lab() -> Lab {
    let lab = Lab::new();
    lab.balls("train.h5", [16, 32, 32], 1);
    lab.balls("val.h5", [8, 16, 16], 2);
    lab
}

/// A run that would go on for a long time.
fn start(config: &Path) -> Child {
    program()
        .args(["train", "--threads", "1", "--set", "trainer.iters=100000"])
        // A learning rate that falls would end it after seconds.
        .args(["--set", "lr_scheduler.patience=100000", "--config"])
        .arg(config)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn wait_for(path: &Path) {
    let started = Instant::now();
    while !path.exists() {
        assert!(started.elapsed() < Duration::from_secs(120), "{} never came", path.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn a_signal_ends_a_run_in_order_and_it_goes_on_as_if_nothing_had_been() {
    let lab = lab();
    let config = lab.training();
    let last = lab.path("run/last_checkpoint.pytorch");
    for name in ["-INT", "-TERM", "-USR1"] {
        let child = start(&config);
        wait_for(&last);
        signal(&child, name);
        let run = Run::from(child.wait_with_output().unwrap());
        assert_eq!(run.code, Some(3), "{}\n{}", run.out, run.err);
        assert!(run.out.contains("stopped by a signal"), "{}", run.out);
        let stopped = Checkpoint::read(&last).unwrap().num_iterations;

        // The same number of iterations in one go.
        let resume = |iters: u64, directory: &str| {
            let run = [
                "train".to_string(),
                "--threads=1".into(),
                "--resume=auto".into(),
                format!("--config={}", config.display()),
                format!("--set=trainer.iters={iters}"),
                format!("--set=trainer.checkpoint_dir={}", lab.path(directory).display()),
            ];
            unet3d(&run).succeeded();
            Checkpoint::read(&lab.path(directory).join("last_checkpoint.pytorch")).unwrap()
        };
        let iters = stopped + 3;
        let (a, b) = (resume(iters, "run"), resume(iters, "whole"));
        assert_eq!(a.num_iterations, iters);
        assert!(a.model_state == b.model_state, "{name} after {stopped} iterations");
        fs::remove_dir_all(lab.path("run")).unwrap();
        fs::remove_dir_all(lab.path("whole")).unwrap();
    }
}

#[test]
fn killed_at_random_moments_a_run_leaves_a_checkpoint_that_loads() {
    let lab = lab();
    let config = lab.config(
        "often.yaml",
        &fs::read_to_string(lab.training())
            .unwrap()
            .replace("validate_after_iters: 5", "validate_after_iters: 1")
            .replace("log_after_iters: 4", "log_after_iters: 100000"),
    );
    let last = lab.path("run/last_checkpoint.pytorch");
    let (mut iterations, mut known) = (0, None);
    for round in 0..20u64 {
        let mut child = program()
            .args(["train", "--threads=1", "--resume=auto", "--set=trainer.iters=100000"])
            .arg(format!("--config={}", config.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The file is another one after this run has saved.
        let file = |path: &Path| fs::metadata(path).map(|data| data.ino()).ok();
        let (before, started) = (known, Instant::now());
        while file(&last) == before {
            assert!(started.elapsed() < Duration::from_secs(120), "no checkpoint came");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis((round * 37) % 90));
        child.kill().unwrap();
        child.wait().unwrap();
        known = file(&last);
        for name in ["last", "best"] {
            let path = lab.path(&format!("run/{name}_checkpoint.pytorch"));
            let checkpoint = Checkpoint::read(&path).unwrap_or_else(|e| panic!("{round}: {e}"));
            if name == "last" {
                assert!(checkpoint.num_iterations >= iterations, "nothing is lost");
                iterations = checkpoint.num_iterations;
            }
        }
    }
    assert!(iterations >= 20, "{iterations} iterations in all");
    // The lock of a killed run is free, and its temporary files are removed.
    let iters = format!("trainer.iters={}", iterations + 1);
    let resume = format!("trainer.resume={}", last.display());
    with_config("train", &config, &[&iters, &resume]).succeeded();
    let left: Vec<_> = fs::read_dir(lab.path("run"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with("_checkpoint.pytorch") && name != "logs" && name != ".lock")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn two_runs_do_not_share_a_directory() {
    let lab = lab();
    let config = lab.training();
    let child = start(&config);
    wait_for(&lab.path("run/last_checkpoint.pytorch"));
    with_config("train", &config, &[]).failed_with(1, &["another run", "checkpoint_dir", "/run"]);
    signal(&child, "-TERM");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(3));
}

#[test]
fn a_lost_checkpoint_directory_is_one_error() {
    let lab = lab();
    let config = lab.training();
    let child = start(&config);
    wait_for(&lab.path("run/last_checkpoint.pytorch"));
    fs::rename(lab.path("run"), lab.path("gone")).unwrap();
    fs::write(lab.path("run"), "a file in its place").unwrap();
    let run = Run::from(child.wait_with_output().unwrap());
    run.failed_with(1, &["/run", "checkpoint"]);
    Checkpoint::read(&lab.path("gone/last_checkpoint.pytorch")).unwrap();
}

/// The same on the CPU, within a limit, as on a GPU.
#[test]
fn a_patch_too_large_for_the_memory_is_one_error() {
    let lab = Lab::new();
    for (name, seed) in [("train.h5", 1), ("val.h5", 2)] {
        lab.balls(name, [32, 128, 128], seed);
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmSize:")).unwrap();
    // This process has the same libraries.
    let libraries: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    let limit = libraries + (1300 << 10);
    let mut limited = Command::new("/bin/sh");
    limited.env_clear().args(["-c", &format!("ulimit -v {limit}; exec \"$0\" \"$@\"")]);
    limited.arg(env!("CARGO_BIN_EXE_unet3d")).args(["train", "--threads=1", "--config"]);
    limited.arg(lab.training());
    for phase in ["train", "val"] {
        for key in ["patch_shape", "stride_shape"] {
            limited.arg(format!("--set=loaders.{phase}.slice_builder.{key}=[32, 128, 128]"));
        }
    }
    limited.args(["--set=model.f_maps=[64, 128]", "--set=model.num_groups=8"]);
    limited.arg("--set=loaders.batch_size=1");
    let run = Run::from(limited.output().unwrap());
    let words = ["out of memory", "1 patch(es) [1, 32, 128, 128]", "GiB", "patch_shape", "f_maps"];
    let run = run.failed_with(1, &words);
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
}
