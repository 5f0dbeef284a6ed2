//! After a kill or on a full disk, a checkpoint is the old one or the new one, complete.
//!
//! This test program starts itself with `UNET3D_CRASH` set to the folder to write to, so
//! that the writing process can be killed and limited.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use unet3d::checkpoint::{
    Checkpoint, CheckpointError, Form, OptimizerState, TensorData, copy_file, remove_leftovers,
};
use unet3d::tensorboard::EventWriter;

const FOLDER: &str = "UNET3D_CRASH";
const LAST: &str = "last_checkpoint.pytorch";
const BEST: &str = "best_checkpoint.pytorch";

/// A checkpoint of some megabytes in which every value depends on `iteration`.
fn checkpoint(iteration: u64) -> Checkpoint {
    let tensor = || TensorData::from_f32(vec![200_000], &vec![iteration as f32; 200_000]);
    Checkpoint {
        form: Form::Fork,
        epoch: 1,
        num_iterations: iteration,
        model_state: (0..8).map(|i| (format!("encoders.{i}.weight"), tensor())).collect(),
        best_eval_score: iteration as f64,
        eval_score_higher_is_better: true,
        optimizer: OptimizerState::default(),
        device: "cpu".into(),
        max_num_epochs: 1,
        max_num_iterations: 1,
        validate_after_iters: 1,
        log_after_iters: 1,
        h5_dir: String::new(),
        validate_iters: None,
        extra: vec![],
    }
}

/// Reads the file, checks that all of it is of one iteration, and returns that iteration.
fn whole(path: &Path) -> u64 {
    let read = Checkpoint::read(path).unwrap();
    assert_eq!(read.model_state.len(), 8);
    for (name, data) in &read.model_state {
        let all = data.to_f64().iter().all(|&x| x == read.num_iterations as f64);
        assert!(all, "{name} is not of iteration {}", read.num_iterations);
    }
    read.num_iterations
}

fn child(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("crash::{test}"), "--nocapture"]).env(FOLDER, folder);
    command
}

fn leftovers(folder: &Path) -> usize {
    let files = fs::read_dir(folder).unwrap();
    files
        .filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().ends_with(".partial"))
        .count()
}

#[test]
fn killed_at_any_instant() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let folder = PathBuf::from(folder);
        for iteration in 1.. {
            checkpoint(iteration).write(&folder.join(LAST)).unwrap();
            copy_file(&folder.join(LAST), &folder.join(BEST)).unwrap();
            println!("\nwritten");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut random = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(1);
    let (mut torn, mut newer) = (0, 0);
    const KILLS: usize = 100;
    for _ in 0..KILLS {
        let mut process =
            child("killed_at_any_instant", folder.path()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut written = || {
            let found = lines.any(|line| line.unwrap() == "written");
            assert!(found, "the child writes nothing");
        };
        written();
        let start = Instant::now();
        written();
        // The moment of the kill is random within the duration of a round.
        let round = start.elapsed().max(Duration::from_millis(1));
        std::thread::sleep(round.mul_f64(random.random_range(0.0..1.5)));
        process.kill().unwrap();
        assert_eq!(process.wait().unwrap().signal(), Some(9));

        let (last, best) = (whole(&folder.path().join(LAST)), whole(&folder.path().join(BEST)));
        // At least the two rounds that the child has reported.
        assert!(last >= 2 && (best == last || best + 1 == last), "{last} and {best}");
        newer += usize::from(best < last);
        let left = remove_leftovers(folder.path()).unwrap();
        assert!(left <= 1 && leftovers(folder.path()) == 0);
        torn += left;
    }
    // About a third of them do; if none did, the test would show nothing.
    assert!(torn >= 5, "only {torn} of {KILLS} kills fell into a write");
    println!("{torn} of {KILLS} kills fell into a write, {newer} between the two files");
}

#[test]
fn full_disk_leaves_the_old_file() {
    const TEST: &str = "crash::full_disk_leaves_the_old_file";
    if let Some(folder) = std::env::var_os(FOLDER) {
        let path = PathBuf::from(folder).join(LAST);
        let error = checkpoint(2).write(&path).unwrap_err();
        assert!(matches!(error, CheckpointError::Write { .. }), "{error}");
        let message = error.to_string();
        assert!(message.starts_with(path.to_str().unwrap()), "{message}");
        assert!(message.contains("a file that stood there before is unchanged"), "{message}");
        let copy = path.with_file_name(BEST);
        assert!(matches!(copy_file(&path, &copy), Err(CheckpointError::Write { .. })));
        assert!(!copy.exists());

        // The log reaches the limit too: a warning, and training continues.
        let events = EventWriter::open(&path.with_file_name("logs"));
        for step in 0..100_000 {
            events.scalar("loss", 0.0, step);
        }
        events.flush();
        drop(events);
        println!("\nas it should be");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    checkpoint(1).write(&folder.path().join(LAST)).unwrap();
    // No file may grow beyond 1 MiB; the signal that comes with it is ignored,
    // so that writing fails as on a full disk.
    let mut command = Command::new("bash");
    let executable = std::env::current_exe().unwrap();
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$0\" --exact \"$1\" --nocapture"])
        .arg(executable)
        .arg(TEST)
        .env(FOLDER, folder.path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("as it should be"), "{said}");
    let noise = String::from_utf8_lossy(&output.stderr);
    assert!(!noise.contains("archive"), "one error is enough: {noise}");
    assert_eq!(whole(&folder.path().join(LAST)), 1);
    assert_eq!(leftovers(folder.path()), 0);
    let log = fs::read_dir(folder.path().join("logs")).unwrap().next().unwrap().unwrap();
    assert_eq!(log.metadata().unwrap().len(), 1 << 20, "the log went up to the limit");
}

#[test]
fn a_lost_directory_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run").join(LAST);
    let error = checkpoint(1).write(&path).unwrap_err();
    assert!(matches!(error, CheckpointError::Write { .. }), "{error}");
    assert!(error.to_string().starts_with(path.to_str().unwrap()), "{error}");
}

#[test]
fn only_unfinished_checkpoints_are_leftovers() {
    let folder = tempfile::tempdir().unwrap();
    let names = [".x.pytorch.abc.partial", ".x.partial", "x.pytorch.abc.partial", "x.pytorch"];
    for name in names {
        fs::write(folder.path().join(name), "").unwrap();
    }
    assert_eq!(remove_leftovers(folder.path()).unwrap(), 1);
    assert!(!folder.path().join(names[0]).exists());
    assert!(names[1..].iter().all(|name| folder.path().join(name).exists()));
}
