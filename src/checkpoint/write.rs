//! Writes the zip archive that `torch.load` reads.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::error::{CheckpointError, Fault};
use super::pickle::pickle;
use super::tensor::Tensor;
use super::value::PickleValue;
use crate::files;

/// Alignment of the storages in bytes, so that torch can map the file.
const ALIGNMENT: u16 = 64;

/// Writes what `torch.save(value, path)` would. The file takes its place only
/// when it is whole and on the disk; until then a file that stood there stays.
pub fn write(path: &Path, value: &PickleValue) -> Result<(), CheckpointError> {
    // torch names the folder within the archive after the file.
    let stem = path.file_stem().map_or("archive".into(), |stem| stem.to_string_lossy());
    let mut failed = None;
    let written = files::write(path, |file| {
        let mut buffer = BufWriter::with_capacity(1 << 20, file);
        match write_archive(&mut buffer, &stem, value) {
            Ok(()) => buffer.flush(),
            Err(Fault::Io(error)) => Err(error),
            Err(fault) => {
                failed = Some(fault);
                Err(io::ErrorKind::Other.into())
            }
        }
    });
    match failed {
        Some(fault) => Err(fault.at(path)),
        None => written.map_err(|source| CheckpointError::Write { path: path.into(), source }),
    }
}

/// Copies a checkpoint. As [`write`], it takes its place only when it is whole.
pub fn copy_file(from: &Path, to: &Path) -> Result<(), CheckpointError> {
    let source =
        File::open(from).map_err(|source| CheckpointError::Read { path: from.into(), source })?;
    files::copy(&source, to).map_err(|source| CheckpointError::Write { path: to.into(), source })
}

/// Removes the unfinished checkpoints that a run which was killed has left in a
/// directory; returns how many. Only for whoever alone writes there.
pub fn remove_leftovers(directory: &Path) -> io::Result<usize> {
    files::remove_leftovers(directory, |target| {
        Path::new(target).extension().is_some_and(|extension| extension == "pytorch")
    })
}

fn write_archive(out: impl Write + Seek, prefix: &str, value: &PickleValue) -> Result<(), Fault> {
    let pickle = pickle(value)?;
    let mut archive = ZipWriter::new(Latch { inner: out, position: 0, failure: None });
    let mut entry = |name: &str, bytes: &[u8]| -> Result<(), Fault> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .large_file(bytes.len() as u64 >= u64::from(u32::MAX))
            .with_alignment(ALIGNMENT);
        archive.start_file(format!("{prefix}/{name}"), options).map_err(write_fault)?;
        archive.write_all(bytes)?;
        Ok(())
    };
    entry("data.pkl", &pickle.bytes)?;
    entry(".format_version", b"1")?;
    entry(".storage_alignment", ALIGNMENT.to_string().as_bytes())?;
    entry("byteorder", b"little")?;
    for (index, tensor) in pickle.tensors.iter().enumerate() {
        let name = format!("data/{index}");
        match tensor {
            Tensor::Memory(data) => entry(&name, &data.bytes)?,
            Tensor::File(_) => {
                let data = tensor.data().map_err(|error| Fault::Contents(error.to_string()))?;
                entry(&name, &data.bytes)?;
            }
        }
    }
    entry("version", b"3\n")?;
    match archive.finish().map_err(write_fault)?.failure {
        Some(error) => Err(Fault::Io(error)),
        None => Ok(()),
    }
}

fn write_fault(error: ZipError) -> Fault {
    match error {
        ZipError::Io(error) => Fault::Io(error),
        error => Fault::Io(io::Error::other(error)),
    }
}

/// A writer that stores its first error and discards everything after it. An
/// archive whose writer returns an error tries to finish the file when it is
/// dropped and prints that it failed.
struct Latch<W> {
    inner: W,
    position: u64,
    failure: Option<io::Error>,
}

impl<W: Write> Write for Latch<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failure.is_none()
            && let Err(error) = self.inner.write_all(bytes)
        {
            self.failure = Some(error);
        }
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.failure.is_none()
            && let Err(error) = self.inner.flush()
        {
            self.failure = Some(error);
        }
        Ok(())
    }
}

impl<W: Seek> Seek for Latch<W> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        if self.failure.is_none() {
            match self.inner.seek(to) {
                Ok(position) => self.position = position,
                Err(error) => self.failure = Some(error),
            }
        } else if let SeekFrom::Start(position) = to {
            self.position = position;
        }
        Ok(self.position)
    }
}
