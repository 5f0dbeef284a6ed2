//! The third stage: writes finished planes.

use std::sync::mpsc::Receiver;

use anyhow::Result;
use ndarray::Array2;
use tch::Tensor;

use super::job::Job;
use super::output::{Output, view};
use super::preview::Preview;

/// What the network stage sends on.
pub enum Finished {
    /// A result of this size (z, y, x) begins; with the projection of the raw
    /// data if a preview is wanted.
    Begin { index: usize, size: [usize; 3], raw: Option<Array2<f32>> },
    /// The next planes (C, d, H, W) of the result.
    Planes(Tensor),
    /// The result is whole.
    End,
    /// The file failed; what there is of its result is dropped.
    Failed { index: usize, error: anyhow::Error },
}

struct Open {
    index: usize,
    output: Output,
    preview: Option<Preview>,
}

/// Writes all results; calls `done` once for each file.
pub fn write_all(job: &Job, finished: Receiver<Finished>, mut done: impl FnMut(usize, Result<()>)) {
    let mut open: Option<Open> = None;
    for message in finished {
        match message {
            Finished::Failed { index, error } => {
                // Dropping the output removes its file.
                open = None;
                done(index, Err(error));
            }
            Finished::Begin { index, size, raw } => match begin(job, index, size, raw) {
                Ok(begun) => open = Some(begun),
                Err(error) => done(index, Err(error)),
            },
            Finished::Planes(values) => {
                if let Some(mut file) = open.take() {
                    match file.write(&values) {
                        Ok(()) => open = Some(file),
                        Err(error) => done(file.index, Err(error)),
                    }
                }
            }
            Finished::End => {
                if let Some(file) = open.take() {
                    let index = file.index;
                    done(index, file.finish(job));
                }
            }
        }
    }
}

fn begin(job: &Job, index: usize, size: [usize; 3], raw: Option<Array2<f32>>) -> Result<Open> {
    let channels = job.out_channels();
    let path = &job.outputs[index];
    let output =
        Output::create(path, &job.output, &job.attributes, channels, size, job.compressors)?;
    Ok(Open { index, output, preview: raw.map(|raw| Preview::new(raw, channels)) })
}

impl Open {
    fn write(&mut self, values: &Tensor) -> Result<()> {
        if let Some(preview) = &mut self.preview {
            let values = values.f_to_device(tch::Device::Cpu)?.f_contiguous()?;
            preview.add(view(&values)?);
        }
        self.output.write(values)
    }

    fn finish(self, job: &Job) -> Result<()> {
        // First, so that a result with its name has its preview too.
        if let Some(preview) = self.preview {
            preview.write(&job.outputs[self.index].with_extension("png"))?;
        }
        self.output.finish()
    }
}
