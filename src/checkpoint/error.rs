//! Errors of reading and writing checkpoints.

use std::io;
use std::path::{Path, PathBuf};

/// A checkpoint that cannot be read or written. Every message names the file,
/// what is wrong with it and what helps.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("{}: cannot be read ({source}); check the path and its permissions", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: cannot be written ({source}); a file that stood there before is unchanged", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{}: {what}; the file is damaged or incomplete: take another checkpoint or copy it again", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("{}: holds the Python object `{name}` where weights are wanted; it is never created here, since that could run any code: save the network's `state_dict()` with `torch.save`", path.display())]
    UnknownGlobal { path: PathBuf, name: String },
    #[error("{}: {what}; save it again with `torch.save` of torch 1.6 or later", path.display())]
    Unsupported { path: PathBuf, what: String },
    #[error("{}: {what}; a checkpoint of a training run is wanted", path.display())]
    Contents { path: PathBuf, what: String },
}

impl CheckpointError {
    pub fn path(&self) -> &Path {
        match self {
            Self::Read { path, .. }
            | Self::Write { path, .. }
            | Self::Damaged { path, .. }
            | Self::UnknownGlobal { path, .. }
            | Self::Unsupported { path, .. }
            | Self::Contents { path, .. } => path,
        }
    }
}

/// A [`CheckpointError`] without the name of the file, for code that does not know
/// it.
#[derive(Debug)]
pub enum Fault {
    Io(io::Error),
    Damaged(String),
    UnknownGlobal(String),
    Unsupported(String),
    Contents(String),
}

impl Fault {
    pub fn at(self, path: &Path) -> CheckpointError {
        let path = path.to_path_buf();
        match self {
            // Reading worked, but the bytes are wrong.
            Fault::Io(source)
                if matches!(
                    source.kind(),
                    io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::InvalidData
                        | io::ErrorKind::InvalidInput
                ) =>
            {
                let what = match source.kind() {
                    io::ErrorKind::UnexpectedEof => "ends too early".to_string(),
                    _ => format!("cannot be decoded ({source})"),
                };
                CheckpointError::Damaged { path, what }
            }
            Fault::Io(source) => CheckpointError::Read { path, source },
            Fault::Damaged(what) => CheckpointError::Damaged { path, what },
            Fault::UnknownGlobal(name) => CheckpointError::UnknownGlobal { path, name },
            Fault::Unsupported(what) => CheckpointError::Unsupported { path, what },
            Fault::Contents(what) => CheckpointError::Contents { path, what },
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Io(error)
    }
}

pub(super) fn damaged<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Damaged(what.into()))
}

pub(super) fn contents<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Contents(what.into()))
}
