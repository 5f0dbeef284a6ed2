//! The third stage: compresses and writes finished boxes.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result, bail};
use ndarray::ArrayView4;

use crate::resample::grid::Interpolation;
use crate::stitch::FinishedBlock;
use crate::volume::{Encoding, StoredType};

use super::files::beside;
use super::output::{Output, view};
use super::preview::Preview;
use super::reader::{CancelFlag, InputSummary};
use super::run::PredictionRun;
use super::shared::{BlockOutput, SharedResult};
use super::stage::ResultSink;
use super::way_back::WayBack;

/// What the network stage sends to the writer.
pub enum WriterMessage {
    /// A result of this size (z, y, x) begins.
    Begin { index: usize, size: [usize; 3], input: Box<InputSummary>, cancel: CancelFlag },
    /// A box of the result, on the CPU.
    Block(FinishedBlock, Permit),
    /// All boxes of the result, or of a block of it, were sent.
    End,
    /// This process has made all its blocks of a result, of so many voxels.
    Complete { index: usize, result: Arc<SharedResult>, voxels: usize },
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
    /// The largest value that the output's number type holds.
    largest: f32,
    /// Where the network got voxels of another size than the file's.
    way_back: Option<WayBack>,
    cancel: CancelFlag,
}

/// A result that has its name.
pub struct Written {
    /// Voxels of the volume.
    pub voxels: usize,
    /// How it agrees with a ground truth, class by class, if that was asked for.
    pub agreement: Option<Vec<f64>>,
}

/// Writes all results; calls `done` once for each file.
pub fn write_all(
    run: &PredictionRun,
    messages: Receiver<WriterMessage>,
    mut done: impl FnMut(usize, Result<Written>),
) {
    let mut current: Option<Unfinished> = None;
    for message in messages {
        match message {
            WriterMessage::Failed { index, error } => {
                // Dropping the output removes its file.
                current = None;
                done(index, Err(error));
            }
            WriterMessage::Begin { index, size, input, cancel } => {
                current = None;
                match Unfinished::begin(run, index, size, *input, cancel.clone()) {
                    Ok(result) => current = Some(result),
                    Err(error) => {
                        cancel.set();
                        done(index, Err(error));
                    }
                }
            }
            WriterMessage::Block(block, _permit) => {
                if let Some(result) = &mut current
                    && let Err(error) = result.write(run, &block)
                {
                    let (index, cancel) = result.place();
                    cancel.set();
                    done(index, Err(error));
                    current = None;
                }
            }
            WriterMessage::End => match current.take() {
                Some(Unfinished::Result(result)) => {
                    let (index, voxels) = (result.index, result.voxels);
                    done(index, result.finish(run).map(|agreement| Written { voxels, agreement }));
                }
                Some(Unfinished::Block(block)) => {
                    if let Err(error) = block.output.finish(run) {
                        block.cancel.set();
                        done(block.index, Err(error));
                    }
                }
                None => {}
            },
            WriterMessage::Complete { index, result, voxels } => {
                current = None;
                let left = result.leave(run);
                done(index, left.map(|()| Written { voxels, agreement: None }));
            }
        }
    }
}

/// What boxes are still to come of.
enum Unfinished {
    Result(Box<UnfinishedResult>),
    Block(Box<UnfinishedBlock>),
}

/// A block of a result that is made block by block.
struct UnfinishedBlock {
    index: usize,
    output: BlockOutput,
    /// The first voxel of the block.
    origin: [usize; 3],
    largest: f32,
    cancel: CancelFlag,
}

/// The largest value that the output's number type holds.
fn largest(run: &PredictionRun) -> f32 {
    match run.plan.output.encoding {
        // What is larger is rounded to infinity.
        Encoding::Number(StoredType::F16) => 65_520f32.next_down(),
        _ => f32::MAX,
    }
}

impl Unfinished {
    fn begin(
        run: &PredictionRun,
        index: usize,
        size: [usize; 3],
        input: InputSummary,
        cancel: CancelFlag,
    ) -> Result<Unfinished> {
        let Some((result, number)) = &input.block else {
            let result = UnfinishedResult::begin(run, index, size, input, cancel)?;
            return Ok(Unfinished::Result(Box::new(result)));
        };
        let origin = result.window(*number).origin;
        let output = BlockOutput::new(run, result.clone(), *number);
        let largest = largest(run);
        let block = UnfinishedBlock { index, output, origin, largest, cancel };
        Ok(Unfinished::Block(Box::new(block)))
    }

    fn place(&self) -> (usize, &CancelFlag) {
        match self {
            Unfinished::Result(result) => (result.index, &result.cancel),
            Unfinished::Block(block) => (block.index, &block.cancel),
        }
    }

    fn write(&mut self, run: &PredictionRun, block: &FinishedBlock) -> Result<()> {
        match self {
            Unfinished::Result(result) => result.add(run, block),
            Unfinished::Block(unfinished) => {
                let [z, y, x] = unfinished.origin;
                let place = [z + block.z, y + block.y, x];
                check_channels(run, unfinished.index, block, place, unfinished.largest)?;
                unfinished.output.write(block)
            }
        }
    }
}

/// Checks that all values of a box, whose first voxel is at `place`, can be written.
fn check_channels(
    run: &PredictionRun,
    index: usize,
    block: &FinishedBlock,
    place: [usize; 3],
    largest: f32,
) -> Result<()> {
    for channel in 0..block.values.size()[0] {
        let values = block.values.f_narrow(0, channel, 1)?.f_contiguous()?;
        check_finite(channel as usize, place, view(&values)?, largest)
            .with_context(|| run.files[index].input.display().to_string())?;
    }
    Ok(())
}

impl UnfinishedResult {
    fn begin(
        run: &PredictionRun,
        index: usize,
        size: [usize; 3],
        input: InputSummary,
        cancel: CancelFlag,
    ) -> Result<Self> {
        let interpolation = match run.plan.regions {
            Some(_) => Interpolation::Nearest,
            None => Interpolation::Linear,
        };
        let way_back = input.grids.map(|grids| WayBack::new(grids, interpolation));
        let size = way_back.as_ref().map_or(size, WayBack::size);
        let output = Output::create(run, index, size, &input)?;
        let projection = input.projection.map(|raw| match &way_back {
            Some(way_back) => way_back.projection(raw),
            None => raw,
        });
        let preview = projection.map(|raw| Preview::new(raw, run.plan.out_channels()));
        let voxels = size.iter().product();
        let channels = run.plan.out_channels();
        let sink = match &run.stage {
            Some(stage) => Some(stage.begin(&run.files[index], size, channels)?),
            None => None,
        };
        let largest = largest(run);
        Ok(UnfinishedResult { index, voxels, output, preview, sink, largest, way_back, cancel })
    }

    /// Takes a box with the voxels of the network.
    fn add(&mut self, run: &PredictionRun, block: &FinishedBlock) -> Result<()> {
        match &mut self.way_back {
            Some(way_back) => match way_back.add(block)? {
                Some(block) => self.write(run, &block),
                None => Ok(()),
            },
            None => self.write(run, block),
        }
    }

    fn write(&mut self, run: &PredictionRun, block: &FinishedBlock) -> Result<()> {
        check_channels(run, self.index, block, [block.z, block.y, 0], self.largest)?;
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

    fn finish(self, run: &PredictionRun) -> Result<Option<Vec<f64>>> {
        // The preview first: a result that has its name then has its preview too.
        if let Some(preview) = self.preview {
            preview.write(&beside(&run.files[self.index].output, "png"))?;
        }
        let agreement = self.output.finish()?;
        self.sink.map_or(Ok(()), |sink| sink.finish())?;
        Ok(agreement)
    }
}

/// Checks that all values of a part (1, d, h, W) of a channel, whose first voxel is at
/// (z, y, x), are numbers that the output can hold. The error names the first other one.
fn check_finite(
    channel: usize,
    [z, y, first]: [usize; 3],
    values: ArrayView4<'_, f32>,
    largest: f32,
) -> Result<()> {
    let is_held = |value: &f32| value.abs() <= largest;
    // Without a way out in its midst this takes a fraction of the time.
    if values.as_slice().is_some_and(|all| all.iter().fold(true, |held, v| held & is_held(v))) {
        return Ok(());
    }
    let Some(((_, dz, dy, x), value)) = values.indexed_iter().find(|(_, value)| !is_held(value))
    else {
        return Ok(());
    };
    let place = [z + dz, y + dy, first + x];
    if value.is_finite() {
        bail!(
            "the network gives {value} in channel {channel} at voxel {place:?}, more than float16 \
             holds; write `predictor.output_dtype: float32`"
        );
    }
    bail!(
        "the network gives {value} in channel {channel} at voxel {place:?}, no number that can be \
         written: nothing is kept of this result. Look at the weights of `model_path` and at the \
         values of the input"
    );
}
