//! The third stage: writes finished planes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

use anyhow::{Context, Result};
use hdf5::File;
use tch::Tensor;

use crate::device::to_values;

use super::job::Job;

/// What the network stage sends on.
pub enum Finished {
    /// A result of this size (z, y, x) begins.
    Begin { index: usize, size: [usize; 3] },
    /// Planes (C, d, H, W) of the result from `first` on.
    Planes { first: usize, values: Tensor },
    /// The result is whole.
    End,
    /// The file failed; what there is of its result is dropped.
    Failed { index: usize, error: anyhow::Error },
}

/// Writes all results; calls `done` once for each file.
pub fn write_all(job: &Job, finished: Receiver<Finished>, mut done: impl FnMut(usize, Result<()>)) {
    let mut open: Option<(usize, Output)> = None;
    for message in finished {
        let result = match message {
            Finished::Failed { index, error } => {
                // Dropping the output removes its file.
                open = None;
                done(index, Err(error));
                Ok(())
            }
            Finished::Begin { index, size } => {
                match Output::create(&job.outputs[index], job.out_channels(), size) {
                    Ok(output) => {
                        open = Some((index, output));
                        Ok(())
                    }
                    Err(error) => Err((index, error)),
                }
            }
            Finished::Planes { first, values } => match &mut open {
                None => Ok(()),
                Some((index, output)) => {
                    output.write(first, &values).map_err(|error| (*index, error))
                }
            },
            Finished::End => match open.take() {
                None => Ok(()),
                Some((index, output)) => match output.finish() {
                    Ok(()) => {
                        done(index, Ok(()));
                        Ok(())
                    }
                    Err(error) => Err((index, error)),
                },
            },
        };
        if let Err((index, error)) = result {
            open = None;
            done(index, Err(error));
        }
    }
}

/// A result being written under a temporary name beside its place.
struct Output {
    file: Option<File>,
    temporary: PathBuf,
    path: PathBuf,
}

impl Output {
    fn create(path: &Path, channels: usize, size: [usize; 3]) -> Result<Self> {
        let context = || format!("{}: the result cannot be written", path.display());
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(directory).with_context(context)?;
        }
        let temporary = path.with_extension("h5.partial");
        let file = File::create(&temporary).with_context(context)?;
        let output = Output { file: Some(file), temporary, path: path.to_path_buf() };
        let [depth, height, width] = size;
        if let Some(file) = &output.file {
            file.new_dataset::<f32>()
                .chunk((1, depth.min(16), height, width))
                .deflate(4)
                .shape((channels, depth, height, width))
                .create("predictions")
                .with_context(context)?;
        }
        Ok(output)
    }

    fn write(&mut self, first: usize, values: &Tensor) -> Result<()> {
        let context = || format!("{}: the result cannot be written", self.path.display());
        let values = to_values(values)?;
        let planes = first..first + values.dim().1;
        if let Some(file) = &self.file {
            let dataset = file.dataset("predictions").with_context(context)?;
            dataset.write_slice(&values, ndarray::s![.., planes, .., ..]).with_context(context)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        let context = || format!("{}: the result cannot be written", self.path.display());
        if let Some(file) = self.file.take() {
            file.close().with_context(context)?;
        }
        fs::File::open(&self.temporary)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&self.temporary, &self.path))
            .with_context(context)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        drop(self.file.take());
        // After `finish` there is nothing under this name any more.
        let _ = fs::remove_file(&self.temporary);
    }
}
