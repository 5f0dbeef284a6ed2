//! The third stage: writes what is finished.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::Result;
use ndarray::Array2;

use crate::stitch::Block;

use super::job::Job;
use super::output::{Output, view};
use super::preview::Preview;

/// What the network stage sends on.
pub enum Finished {
    /// A result of this size (z, y, x) begins; with the projection of the raw
    /// data if a preview is wanted. `dropped` is set when it cannot be written.
    Begin { index: usize, size: [usize; 3], raw: Option<Array2<f32>>, dropped: Arc<AtomicBool> },
    /// A box of the result, on the CPU, and its right to be in memory.
    Block(Block, Permit),
    /// The result is whole.
    End,
    /// The file failed; what there is of its result is dropped.
    Failed { index: usize, error: anyhow::Error },
}

/// The right of a box to be in memory, given back when it is dropped.
pub struct Permit(Sender<()>);

impl Drop for Permit {
    fn drop(&mut self) {
        // Nobody waits for it once the network stage is gone.
        let _ = self.0.send(());
    }
}

/// Hands out permits: boxes may be as large as the sums themselves, while other
/// messages are small and may wait in numbers.
pub struct Permits {
    back: Sender<()>,
    free: Receiver<()>,
}

impl Permits {
    pub fn new(count: usize) -> Self {
        let (back, free) = channel();
        (0..count).for_each(|_| drop(Permit(back.clone())));
        Permits { back, free }
    }

    /// Waits until there is one.
    pub fn take(&self) -> Permit {
        // The sending end lives in `self`.
        let _ = self.free.recv();
        Permit(self.back.clone())
    }
}

struct Open {
    index: usize,
    voxels: usize,
    output: Output,
    preview: Option<Preview>,
    dropped: Arc<AtomicBool>,
}

/// Writes all results; calls `done` once for each file, with the voxels of its
/// volume.
pub fn write_all(
    job: &Job,
    finished: Receiver<Finished>,
    mut done: impl FnMut(usize, Result<usize>),
) {
    let mut open: Option<Open> = None;
    for message in finished {
        match message {
            Finished::Failed { index, error } => {
                // Dropping the output removes its file.
                open = None;
                done(index, Err(error));
            }
            Finished::Begin { index, size, raw, dropped } => {
                match begin(job, index, size, raw, dropped.clone()) {
                    Ok(begun) => open = Some(begun),
                    Err(error) => {
                        dropped.store(true, Ordering::Relaxed);
                        done(index, Err(error));
                    }
                }
            }
            Finished::Block(block, _permit) => {
                if let Some(mut file) = open.take() {
                    match file.write(&block) {
                        Ok(()) => open = Some(file),
                        Err(error) => {
                            file.dropped.store(true, Ordering::Relaxed);
                            done(file.index, Err(error));
                        }
                    }
                }
            }
            Finished::End => {
                if let Some(file) = open.take() {
                    let (index, voxels) = (file.index, file.voxels);
                    done(index, file.finish(job).map(|()| voxels));
                }
            }
        }
    }
}

fn begin(
    job: &Job,
    index: usize,
    size: [usize; 3],
    raw: Option<Array2<f32>>,
    dropped: Arc<AtomicBool>,
) -> Result<Open> {
    let channels = job.out_channels();
    let path = &job.outputs[index];
    let output =
        Output::create(path, &job.output, &job.attributes, channels, size, job.compressors)?;
    let preview = raw.map(|raw| Preview::new(raw, channels));
    Ok(Open { index, voxels: size.iter().product(), output, preview, dropped })
}

impl Open {
    fn write(&mut self, block: &Block) -> Result<()> {
        if let Some(preview) = &mut self.preview {
            for channel in 0..block.values.size()[0] {
                let values = block.values.f_narrow(0, channel, 1)?.f_contiguous()?;
                preview.add(channel as usize, block.y, view(&values)?);
            }
        }
        self.output.write(block)
    }

    fn finish(self, job: &Job) -> Result<()> {
        // First, so that a result with its name has its preview too.
        if let Some(preview) = self.preview {
            preview.write(&job.outputs[self.index].with_extension("png"))?;
        }
        self.output.finish()
    }
}
