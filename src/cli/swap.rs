//! The command lines of `train3dunet` and `predict3dunet`, for scripts that call the
//! Python program: links of these names lead to this one.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{Args, Parser};

use super::{Cli, Command, Common, Predict, Train};

/// Trains a network as the Python program's train3dunet does.
#[derive(Debug, Parser)]
#[command(name = "train3dunet", version)]
struct TrainLine {
    #[command(flatten)]
    line: Line,
}

/// Predicts as the Python program's predict3dunet does.
#[derive(Debug, Parser)]
#[command(name = "predict3dunet", version)]
struct PredictLine {
    #[command(flatten)]
    line: Line,
}

/// The Python program's flags beside this program's own.
#[derive(Args, Debug)]
struct Line {
    #[command(flatten)]
    common: Common,
    /// The checkpoint to predict with, in place of the configuration's.
    #[arg(long = "model_path", value_name = "FILE")]
    model_path: Option<String>,
    /// Where predictions go.
    #[arg(long = "loaders.output_dir", value_name = "DIR")]
    output_dir: Option<String>,
    /// Files or folders to predict.
    #[arg(long = "loaders.test.file_paths", value_name = "PATH", num_args = 1..)]
    file_paths: Vec<String>,
    /// Depth, height and width of a patch.
    #[arg(long = "loaders.test.slice_builder.patch_shape", value_name = "VOXELS", num_args = 1..)]
    patch_shape: Vec<u32>,
    /// Voxels from one patch to the next.
    #[arg(long = "loaders.test.slice_builder.stride_shape", value_name = "VOXELS", num_args = 1..)]
    stride_shape: Vec<u32>,
}

impl Line {
    /// This program's own flags, the others among their overrides, after those of
    /// `--set`.
    fn common(self) -> Common {
        let Line { mut common, model_path, output_dir, file_paths, patch_shape, stride_shape } =
            self;
        let mut set = |key: &str, value: serde_json::Value| {
            common.flags.overrides.push(format!("{key}={value}"));
        };
        if let Some(path) = model_path {
            set("model_path", path.into());
        }
        if let Some(path) = output_dir {
            set("loaders.output_dir", path.into());
        }
        if !file_paths.is_empty() {
            set("loaders.test.file_paths", file_paths.into());
        }
        if !patch_shape.is_empty() {
            set("loaders.test.slice_builder.patch_shape", patch_shape.into());
        }
        if !stride_shape.is_empty() {
            set("loaders.test.slice_builder.stride_shape", stride_shape.into());
        }
        common
    }
}

impl Cli {
    /// The command line of the process. The name that the program was called by decides
    /// whose flags it takes. Ends the process on wrong usage, and for help and version.
    pub fn of_process() -> Cli {
        let called = std::env::args_os().next();
        let name = called.as_deref().map(Path::new).and_then(Path::file_name);
        let command = match name.and_then(OsStr::to_str) {
            Some("train3dunet") => {
                let common = TrainLine::parse_from(arguments()).line.common();
                Command::Train(Train {
                    common,
                    resume: None,
                    overwrite: false,
                    processes: None,
                    rank_timeout: 600,
                })
            }
            Some("predict3dunet") => {
                let common = PredictLine::parse_from(arguments()).line.common();
                Command::Predict(Predict {
                    config: Some(common.config),
                    checkpoint: None,
                    inputs: Vec::new(),
                    output: None,
                    flags: common.flags,
                    skip_existing: false,
                    shard: None,
                })
            }
            _ => return Cli::parse_from(arguments()),
        };
        Cli { command }
    }
}

/// The arguments of the process, with the home directory for a `~` that the shell left, as
/// in `--output=~/out`.
fn arguments() -> impl Iterator<Item = OsString> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    std::env::args_os().map(move |argument| match &home {
        Some(home) => with_home(&argument, home).unwrap_or(argument),
        None => argument,
    })
}

/// An argument whose path begins with `~`, with the home directory in its place.
fn with_home(argument: &OsStr, home: &Path) -> Option<OsString> {
    let text = argument.to_str()?;
    let (flag, path) = match text.split_once('=') {
        Some((flag, path)) if flag.starts_with("--") => (&text[..=flag.len()], path),
        _ => ("", text),
    };
    let rest = path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
    let mut whole = OsString::from(flag);
    whole.push(home.join(rest.trim_start_matches('/')));
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_may_begin_at_home() {
        let home = Path::new("/home/me");
        for (argument, whole) in [
            ("~", Some("/home/me/")),
            ("~/a.tif", Some("/home/me/a.tif")),
            ("--output=~/out", Some("--output=/home/me/out")),
            ("~x.tif", None),
            ("./~/a.tif", None),
            ("--set=model_path=~/a", None),
            ("a=~/b", None),
        ] {
            assert_eq!(with_home(argument.as_ref(), home), whole.map(OsString::from), "{argument}");
        }
    }

    #[test]
    fn flags_become_overrides() {
        let line = PredictLine::parse_from([
            "predict3dunet",
            "--config",
            "c.yaml",
            "--model_path",
            "/a b/\"c\".pytorch",
            "--loaders.test.file_paths",
            "x.h5",
            "y.h5",
            "--loaders.test.slice_builder.patch_shape",
            "1",
            "2",
            "3",
        ]);
        let common = line.line.common();
        assert_eq!(common.config, Path::new("c.yaml"));
        assert_eq!(
            common.flags.overrides,
            [
                r#"model_path="/a b/\"c\".pytorch""#,
                r#"loaders.test.file_paths=["x.h5","y.h5"]"#,
                "loaders.test.slice_builder.patch_shape=[1,2,3]",
            ]
        );
    }
}
