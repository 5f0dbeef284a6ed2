//! The third stage: compresses and writes finished boxes.

use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::Result;
use ndarray::Array2;

use crate::stitch::FinishedBlock;

use super::output::{Output, view};
use super::preview::Preview;
use super::reader::CancelFlag;
use super::run::PredictionRun;
use super::stage::ResultSink;

/// What the network stage sends to the writer.
pub enum WriterMessage {
    /// A result of this size (z, y, x) begins.
    Begin {
        index: usize,
        size: [usize; 3],
        /// Maximum projection of the raw data (H, W), if a preview is wanted.
        projection: Option<Array2<f32>>,
        cancel: CancelFlag,
    },
    /// A box of the result, on the CPU.
    Block(FinishedBlock, Permit),
    /// All boxes of the result were sent.
    End,
    /// The file failed; what there is of its result is removed.
    Failed { index: usize, error: anyhow::Error },
}

/// Permission for a box to be in memory, given back when it is dropped.
pub struct Permit(Sender<()>);

impl Drop for Permit {
    fn drop(&mut self) {
        // Once the network stage has ended nothing waits for it.
        let _ = self.0.send(());
    }
}

/// Limits how many boxes are in memory. Boxes may be as large as the sums themselves,
/// while the other messages are small, so that the length of the channel is no limit.
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

    /// Waits for a permit.
    pub fn take(&self) -> Permit {
        // It cannot fail: the sending end is in `self`.
        let _ = self.free.recv();
        Permit(self.back.clone())
    }
}

/// A result of which boxes are still to come.
struct UnfinishedResult {
    index: usize,
    voxels: usize,
    output: Output,
    preview: Option<Preview>,
    /// What else is made of it.
    sink: Option<Box<dyn ResultSink>>,
    cancel: CancelFlag,
}

/// Writes all results; calls `done` once for each file, with the number of voxels of
/// its volume.
pub fn write_all(
    run: &PredictionRun,
    messages: Receiver<WriterMessage>,
    mut done: impl FnMut(usize, Result<usize>),
) {
    let mut current: Option<UnfinishedResult> = None;
    for message in messages {
        match message {
            WriterMessage::Failed { index, error } => {
                // Dropping the output removes its file.
                current = None;
                done(index, Err(error));
            }
            WriterMessage::Begin { index, size, projection, cancel } => {
                match UnfinishedResult::begin(run, index, size, projection, cancel.clone()) {
                    Ok(result) => current = Some(result),
                    Err(error) => {
                        cancel.set();
                        done(index, Err(error));
                    }
                }
            }
            WriterMessage::Block(block, _permit) => {
                if let Some(result) = &mut current
                    && let Err(error) = result.write(&block)
                {
                    result.cancel.set();
                    done(result.index, Err(error));
                    current = None;
                }
            }
            WriterMessage::End => {
                if let Some(result) = current.take() {
                    let (index, voxels) = (result.index, result.voxels);
                    done(index, result.finish(run).map(|()| voxels));
                }
            }
        }
    }
}

impl UnfinishedResult {
    fn begin(
        run: &PredictionRun,
        index: usize,
        size: [usize; 3],
        projection: Option<Array2<f32>>,
        cancel: CancelFlag,
    ) -> Result<Self> {
        let output = Output::create(run, index, size)?;
        let preview = projection.map(|raw| Preview::new(raw, run.plan.out_channels()));
        let voxels = size.iter().product();
        let channels = run.plan.out_channels();
        let sink = match &run.stage {
            Some(stage) => Some(stage.begin(&run.files[index], size, channels)?),
            None => None,
        };
        Ok(UnfinishedResult { index, voxels, output, preview, sink, cancel })
    }

    fn write(&mut self, block: &FinishedBlock) -> Result<()> {
        if let Some(preview) = &mut self.preview {
            for channel in 0..block.values.size()[0] {
                let values = block.values.f_narrow(0, channel, 1)?.f_contiguous()?;
                preview.add(channel as usize, block.y, view(&values)?);
            }
        }
        if let Some(sink) = &mut self.sink {
            for channel in 0..block.values.size()[0] {
                let values = block.values.f_narrow(0, channel, 1)?.f_contiguous()?;
                sink.add(channel as usize, [block.z, block.y], view(&values)?)?;
            }
        }
        self.output.write(block)
    }

    fn finish(self, run: &PredictionRun) -> Result<()> {
        // The preview first: a result that has its name then has its preview too.
        if let Some(preview) = self.preview {
            preview.write(&run.files[self.index].output.with_extension("png"))?;
        }
        self.output.finish()?;
        self.sink.map_or(Ok(()), |sink| sink.finish())
    }
}
