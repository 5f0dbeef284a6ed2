//! The first stage: opens files one after the other and sends their patches.
//!
//! It has two threads. One reads a file whole, or finds the statistics of one that is
//! read piece by piece, while the other cuts the patches of the file before it. So two
//! inputs are in memory at most.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use ndarray::{Array2, s};

use crate::augment::stream::SampleKey;
use crate::files;
use crate::resample::grid::Grid;
use crate::runtime::report::panic_text;
use crate::stitch::Tiling;
use crate::volume::{Source, Statistics, Volume, VolumeReader, Window};

use super::error::StageError;
use super::plan::{PredictionPlan, RawInput};
use super::run::PredictionRun;

/// What the reader sends to the network stage, in the order of files and patches.
pub enum ReaderMessage {
    /// A file begins.
    Begin { index: usize, tiling: Tiling, input: Box<InputSummary>, cancel: CancelFlag },
    /// Patches of the file, transformed, each (C, D, H, W).
    Batch { patches: Vec<[usize; 3]>, raw: Vec<Volume> },
    /// All patches of the file were sent.
    End,
    /// The file cannot be read; nothing more of it comes.
    Failed { index: usize, error: anyhow::Error },
}

/// What the writer is told of an input.
pub struct InputSummary {
    /// Maximum projection of the raw data (H, W), if a preview is wanted.
    pub projection: Option<Array2<f32>>,
    /// The state of the files that the input is made of ([`files::record`]).
    pub record: String,
    /// What leads from the voxels of the file to those of the network, if they differ.
    pub grids: Option<[Grid; 3]>,
}

/// Set by the stage in which a file fails, so that the others stop working on it.
#[derive(Clone, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Reads all files of `indices`, until the receiver goes away or `halt` is set.
pub fn read_all(
    run: &PredictionRun,
    indices: impl Iterator<Item = usize> + Send,
    halt: &AtomicBool,
    out: &SyncSender<ReaderMessage>,
) {
    thread::scope(|scope| {
        // Without a buffer: a third input would be in memory otherwise.
        let (opened, inputs) = sync_channel(0);
        scope.spawn(move || {
            for index in indices {
                let input = catch_panic(run, index, || {
                    Ok(Input::open(&run.plan, &run.files[index].input)?)
                });
                if opened.send((index, input)).is_err() {
                    return;
                }
            }
        });
        for (index, input) in inputs {
            let sent = input
                .and_then(|input| catch_panic(run, index, || send(run, index, input, halt, out)));
            let ended = match sent {
                Ok(()) => false,
                Err(StageError::Ended) => true,
                Err(StageError::DeviceLost(error) | StageError::File(error)) => {
                    out.send(ReaderMessage::Failed { index, error }).is_err()
                }
            };
            if ended {
                return;
            }
        }
    });
}

/// Turns a panic into an error about the file.
fn catch_panic<T>(
    run: &PredictionRun,
    index: usize,
    work: impl FnOnce() -> Result<T, StageError>,
) -> Result<T, StageError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        Err(StageError::File(anyhow!(
            "{}: reading it failed inside the program: {}",
            run.files[index].input.display(),
            panic_text(&*panic)
        )))
    })
}

/// An input file with what is needed to cut its patches.
struct Input {
    source: Source,
    /// All files that the voxels come from, the input first.
    files: Vec<PathBuf>,
    statistics: Statistics,
    tiling: Tiling,
    grids: Option<[Grid; 3]>,
}

impl Input {
    /// Opens a file and checks that it fits the network and the patches.
    fn open(plan: &PredictionPlan, path: &Path) -> Result<Self> {
        let RawInput { reader: dataset, grids, .. } = plan.open(path)?;
        let tiling = plan.tile(&*dataset).with_context(|| path.display().to_string())?;
        let files = dataset.files();
        let (source, statistics) = Source::raw(dataset, plan.access)?;
        plan.transformer
            .check_statistics(&statistics)
            .with_context(|| format!("{} cannot be transformed", path.display()))?;
        Ok(Input { source, files, statistics, tiling, grids })
    }

    /// The maximum of the raw data along channels and z, (H, W).
    fn projection(&self) -> Result<Array2<f32>> {
        let [depth, height, width] = self.source.size();
        let mut most = Array2::from_elem((height, width), f32::NEG_INFINITY);
        let mut add = |y: usize, part: Volume| {
            for channel in part.into_f32().outer_iter() {
                for plane in channel.outer_iter() {
                    most.slice_mut(s![y..y + plane.nrows(), ..])
                        .zip_mut_with(&plane, |m, v| *m = m.max(*v));
                }
            }
        };
        match &self.source {
            Source::File(dataset) => {
                let threads = thread::available_parallelism().map_or(1, |n| n.get());
                for (channels, window) in dataset.tiles(32 << 20) {
                    add(window.origin[1], dataset.read_part(channels, &window, threads)?);
                }
            }
            source => {
                for z in 0..depth {
                    add(0, source.window(&Window::new([z, 0, 0], [1, height, width]))?);
                }
            }
        }
        Ok(most)
    }
}

/// Cuts patches from the volume in memory, or from the part of the file that a row of
/// patches along x needs, which is read at once.
struct PatchCutter<'a> {
    plan: &'a PredictionPlan,
    input: &'a Input,
    strip: Option<Strip>,
}

/// The part of a file that a row of patches along x needs.
struct Strip {
    /// Layer and row of the patches.
    row: [usize; 2],
    volume: Volume,
    /// For each voxel of the padded row along z, y and x, its index in `volume`.
    indices: [Vec<usize>; 3],
}

impl Strip {
    fn read(
        plan: &PredictionPlan,
        tiling: &Tiling,
        dataset: &dyn VolumeReader,
        row: [usize; 2],
    ) -> Result<Strip> {
        let corner = tiling.corner([row[0], row[1], 0]);
        let [depth, height, _] = tiling.patch;
        let window = Window::new(corner, [depth, height, tiling.axes[2].size]);
        let (window, indices) = plan.tiling.mirror.sources(&window, dataset.size());
        let threads = thread::available_parallelism().map_or(1, |n| n.get());
        let volume = dataset.read_part(0..dataset.channels(), &window, threads)?;
        Ok(Strip { row, volume, indices })
    }

    fn patch(&self, plan: &PredictionPlan, x: usize) -> Volume {
        let [depth, height, width] = plan.tiling.grid.patch;
        if plan.tiling.mirror.is_none() {
            return self.volume.window(&Window::new([0, 0, x], [depth, height, width]));
        }
        let [zs, ys, xs] = &self.indices;
        self.volume.gather(&[zs.clone(), ys.clone(), xs[x..x + width].to_vec()])
    }
}

impl PatchCutter<'_> {
    /// A patch after the transforms, as the network takes it.
    fn patch(&mut self, number: u64, patch: [usize; 3]) -> Result<Volume> {
        let (plan, tiling) = (self.plan, &self.input.tiling);
        let corner = tiling.corner(patch);
        let raw = match &self.input.source {
            Source::File(dataset) => {
                let row = [patch[0], patch[1]];
                let strip = match self.strip.take().filter(|strip| strip.row == row) {
                    Some(strip) => strip,
                    None => Strip::read(plan, tiling, &**dataset, row)?,
                };
                self.strip.insert(strip).patch(plan, corner[2])
            }
            source => source.mirrored(&Window::new(corner, tiling.patch), &plan.tiling.mirror)?,
        };
        let key = SampleKey { seed: 0, epoch: 0, sample: number };
        let raw = plan.transformer.apply_raw(raw, key, &self.input.statistics)?;
        ensure!(
            raw.has_channels
                && raw.size() == tiling.patch
                && raw.channels() as i64 == plan.network.in_channels,
            "the transforms of `loaders.test.transformer.raw` turn a patch {:?} into {:?}; \
             prediction needs transforms that keep its shape",
            tiling.patch,
            raw.shape()
        );
        Ok(raw)
    }
}

/// Sends a file patch by patch.
fn send(
    run: &PredictionRun,
    index: usize,
    input: Input,
    halt: &AtomicBool,
    out: &SyncSender<ReaderMessage>,
) -> Result<(), StageError> {
    let plan = &run.plan;
    let send = |message| out.send(message).map_err(|_| StageError::Ended);
    let path = run.files[index].input.display().to_string();
    let projection = if plan.output.preview { Some(input.projection()?) } else { None };
    let record = files::record(&input.files).with_context(|| path.clone())?;
    let summary = InputSummary { projection, record: record.clone(), grids: input.grids };
    let (tiling, cancel) = (input.tiling.clone(), CancelFlag::default());
    send(ReaderMessage::Begin { index, tiling, input: Box::new(summary), cancel: cancel.clone() })?;
    let numbers: Vec<_> = input.tiling.patches().zip(0..).collect();
    let mut cutter = PatchCutter { plan, input: &input, strip: None };
    for batch in numbers.chunks(plan.batch_size) {
        if run.is_stopped() || halt.load(Ordering::Relaxed) {
            return Err(StageError::Ended);
        }
        if cancel.is_set() {
            return Ok(());
        }
        let raw = batch
            .iter()
            .map(|(patch, number)| cutter.patch(*number, *patch))
            .collect::<Result<Vec<_>>>()
            .with_context(|| path.clone())?;
        let patches = batch.iter().map(|(patch, _)| *patch).collect();
        send(ReaderMessage::Batch { patches, raw })?;
    }
    if files::record(&input.files).ok().as_ref() != Some(&record) {
        return Err(anyhow!(
            "{path}: the file was changed while it was in use; start again when it is complete"
        )
        .into());
    }
    send(ReaderMessage::End)
}
