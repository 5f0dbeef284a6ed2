//! The first stage: opens files one after the other and sends their patches.
//!
//! It has two threads. One reads a file whole, or finds the statistics of one that is
//! read piece by piece, while the other cuts the patches of the file before it. So two
//! inputs are in memory at most.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use ndarray::{Array2, s};

use crate::augment::stream::SampleKey;
use crate::files;
use crate::format;
use crate::resample::grid::Grid;
use crate::runtime::report::panic_text;
use crate::stitch::Tiling;
use crate::volume::{Calibration, Source, Statistics, Volume, VolumeReader, Window};

use super::device::Computing;
use super::error::StageError;
use super::plan::{PredictionPlan, RawInput};
use super::run::PredictionRun;
use super::shared::{SharedResult, is_shared};

/// What the reader sends to the network stage, in the order of files and patches.
pub enum ReaderMessage {
    /// A file begins.
    Begin { index: usize, tiling: Tiling, input: Box<InputSummary>, cancel: CancelFlag },
    /// Patches of the file, transformed, each (C, D, H, W).
    Batch { patches: Vec<[usize; 3]>, raw: Vec<Volume> },
    /// All patches of the file, or of a block of its result, were sent.
    End,
    /// This process has sent all its blocks of a result.
    Complete { index: usize, result: Arc<SharedResult>, voxels: usize },
    /// The file cannot be read; nothing more of it comes.
    Failed { index: usize, error: anyhow::Error },
}

/// What the writer is told of an input.
#[derive(Clone)]
pub struct InputSummary {
    /// Maximum projection of the raw data (H, W), if a preview is wanted.
    pub projection: Option<Array2<f32>>,
    /// The state of the files that the input is made of ([`files::record`]).
    pub record: String,
    /// What leads from the voxels of the file to those of the network, if they differ.
    pub grids: Option<[Grid; 3]>,
    /// What the input tells of space.
    pub calibration: Calibration,
    /// The block that is made, of a result that is made block by block.
    pub block: Option<(Arc<SharedResult>, usize)>,
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
    computing: Computing,
    out: &SyncSender<ReaderMessage>,
) {
    thread::scope(|scope| {
        // Without a buffer: a third input would be in memory otherwise.
        let (opened, inputs) = sync_channel(0);
        scope.spawn(move || {
            for index in indices {
                let input = catch_panic(run, index, || Ok(Input::open(run, index, computing)?));
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
    calibration: Calibration,
    statistics: Statistics,
    tiling: Tiling,
    grids: Option<[Grid; 3]>,
    /// The state of the files.
    record: String,
    /// The result, if it is made block by block.
    shared: Option<Arc<SharedResult>>,
}

impl Input {
    /// Opens a file and checks that it fits the network and the patches.
    fn open(run: &PredictionRun, index: usize, computing: Computing) -> Result<Self> {
        let (plan, pair) = (&run.plan, &run.files[index]);
        let path = &pair.input;
        let RawInput { reader: dataset, grids, calibration, .. } = plan.open(path)?;
        let tiling = plan.tile(&*dataset).with_context(|| path.display().to_string())?;
        // It is the input itself by which its result is known to be up to date, whatever
        // within it the volume is.
        let own = format::file_of(path);
        let files: Vec<PathBuf> =
            std::iter::once(own).chain(dataset.files().into_iter().skip(1)).collect();
        let record = files::record(&files).with_context(|| path.display().to_string())?;
        let shared = if is_shared(plan, &pair.output, run.stage.is_some()) {
            let result = SharedResult::open(run, index, &*dataset, &record, computing)?;
            Some(Arc::new(result))
        } else {
            None
        };
        let (source, statistics) = match &shared {
            Some(result) => {
                let statistics = result.statistics(&*dataset)?;
                (Source::File(dataset), statistics)
            }
            None => Source::raw(dataset, plan.access)?,
        };
        plan.transformer
            .check_statistics(&statistics)
            .with_context(|| format!("{} cannot be transformed", path.display()))?;
        Ok(Input { source, files, calibration, statistics, tiling, grids, record, shared })
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
    /// What of the padded volume along x the rows of patches need.
    columns: Range<usize>,
    strip: Option<Strip>,
}

/// The part of a file that a row of patches along x needs.
struct Strip {
    /// Layer and row of the patches.
    row: [usize; 2],
    /// The first voxel along x, in the padded volume.
    first: usize,
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
        columns: &Range<usize>,
    ) -> Result<Strip> {
        let [z, y, _] = tiling.corner([row[0], row[1], 0]);
        let [depth, height, _] = tiling.patch;
        let window = Window::new([z, y, columns.start], [depth, height, columns.len()]);
        let (window, indices) = plan.tiling.mirror.sources(&window, dataset.size());
        let threads = thread::available_parallelism().map_or(1, |n| n.get());
        let volume = dataset.read_part(0..dataset.channels(), &window, threads)?;
        Ok(Strip { row, first: columns.start, volume, indices })
    }

    fn patch(&self, plan: &PredictionPlan, x: usize) -> Volume {
        let [depth, height, width] = plan.tiling.grid.patch;
        let x = x - self.first;
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
                    None => Strip::read(plan, tiling, &**dataset, row, &self.columns)?,
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
    let (record, calibration) = (input.record.clone(), input.calibration.clone());
    let grids = input.grids;
    let mut summary = InputSummary { projection, record, grids, calibration, block: None };
    let cancel = CancelFlag::default();
    let unchanged = || -> Result<(), StageError> {
        if files::record(&input.files).ok().as_ref() != Some(&input.record) {
            return Err(anyhow!(
                "{path}: the file was changed while it was in use; start again when it is complete"
            )
            .into());
        }
        Ok(())
    };
    // Sends the patches of a tiling, each with its place in the whole. False if the file
    // was given up.
    let send_patches = |tiling: &Tiling,
                        of_whole: &dyn Fn([usize; 3]) -> [usize; 3],
                        batch_size: usize|
     -> Result<bool, StageError> {
        let patches: Vec<[usize; 3]> = tiling.patches().collect();
        let corners = patches.iter().map(|patch| input.tiling.corner(of_whole(*patch))[2]);
        let (first, last) = (corners.clone().min(), corners.max());
        let columns = first.unwrap_or(0)..last.unwrap_or(0) + tiling.patch[2];
        let mut cutter = PatchCutter { plan, input: &input, columns, strip: None };
        for batch in patches.chunks(batch_size) {
            if run.is_stopped() || halt.load(Ordering::Relaxed) {
                return Err(StageError::Ended);
            }
            if cancel.is_set() {
                return Ok(false);
            }
            let raw = batch
                .iter()
                .map(|patch| {
                    let patch = of_whole(*patch);
                    cutter.patch(input.tiling.number(patch) as u64, patch)
                })
                .collect::<Result<Vec<_>>>()
                .with_context(|| path.clone())?;
            send(ReaderMessage::Batch { patches: batch.to_vec(), raw })?;
        }
        Ok(true)
    };
    let Some(result) = &input.shared else {
        let tiling = input.tiling.clone();
        send(ReaderMessage::Begin {
            index,
            tiling,
            input: Box::new(summary),
            cancel: cancel.clone(),
        })?;
        if !send_patches(&input.tiling, &|patch| patch, plan.batch_size)? {
            return Ok(());
        }
        unchanged()?;
        return send(ReaderMessage::End);
    };
    let mut voxels = 0;
    for number in result.blocks(run) {
        if run.is_stopped() || halt.load(Ordering::Relaxed) {
            return Err(StageError::Ended);
        }
        let window = result.window(number);
        voxels += window.voxels();
        let block = input.tiling.block(window.origin, window.size);
        summary.block = Some((result.clone(), number));
        let (tiling, input) = (block.tiling.clone(), Box::new(summary.clone()));
        send(ReaderMessage::Begin { index, tiling, input, cancel: cancel.clone() })?;
        if !send_patches(&block.tiling, &|patch| block.of_whole(patch), result.batch_size)? {
            return Ok(());
        }
        send(ReaderMessage::End)?;
    }
    unchanged()?;
    send(ReaderMessage::Complete { index, result: result.clone(), voxels })
}
