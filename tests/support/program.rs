//! Runs the program in an empty environment, as batch scripts do.

#![allow(dead_code)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Exit code and output of a run.
pub struct Run {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Run { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Run {
    /// Panics with the output of the program unless it succeeded.
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        self
    }

    /// Checks that the run failed with the code, printed one line on stderr with all the
    /// words, and did not panic.
    pub fn failed_with(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        assert!(self.err.starts_with("error: "), "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "'{word}' is not in: {}", self.err);
        }
        self
    }
}

/// The program with nothing in its environment.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unet3d"));
    command.env_clear();
    command
}

/// Runs `unet3d` with these arguments.
pub fn unet3d<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Run {
    program().args(arguments).output().expect("the program starts").into()
}

/// Runs `unet3d COMMAND --config CONFIG` with `--set` for each override. With one
/// thread: tests run side by side, and their volumes are small.
pub fn with_config(command: &str, config: &Path, overrides: &[&str]) -> Run {
    with_flags(command, config, &[], overrides)
}

/// As [`with_config`], with more flags.
pub fn with_flags(command: &str, config: &Path, flags: &[&str], overrides: &[&str]) -> Run {
    let mut run = program();
    run.arg(command).args(["--threads", "1", "--config"]).arg(config).args(flags);
    for option in overrides {
        run.arg("--set").arg(option);
    }
    run.output().expect("the program starts").into()
}

/// Python with torch, h5py and tensorboard.
pub fn python() -> Command {
    let python = match std::env::var_os("UNET3D_PYTHON") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python"),
    };
    Command::new(python)
}

/// Runs a Python script under `tests/fixtures`, which must succeed; returns what
/// it printed.
pub fn script<S: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = S>) -> String {
    let output = python()
        .arg(super::fixture(name))
        .args(arguments)
        .output()
        .expect("Python with torch, h5py and tensorboard: set UNET3D_PYTHON or make .venv");
    let run = Run::from(output);
    assert_eq!(run.code, Some(0), "{name}: {}\n{}", run.out, run.err);
    run.out
}
