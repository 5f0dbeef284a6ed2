//! The first stage: opens files one after the other and sends their patches.
//!
//! Two threads share it. One reads a file whole, or finds the statistics of one
//! that is read piece by piece, while the other cuts the patches of the file
//! before: two inputs are held at most.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use ndarray::{Array2, s};

use crate::augment::stream::SampleKey;
use crate::format;
use crate::runtime::report::panic_text;
use crate::stitch::Plan;
use crate::volume::{Source, Statistics, Volume, VolumeReader, Window};

use super::job::Job;

/// What the reader sends on, in the order of files and patches.
pub enum Fed {
    /// A file begins. Whoever sets `dropped` has no use for more of it.
    Open { index: usize, plan: Plan, raw: Option<Array2<f32>>, dropped: Arc<AtomicBool> },
    /// Patches of the file, transformed, each (C, D, H, W).
    Batch { patches: Vec<[usize; 3]>, raw: Vec<Volume> },
    /// All patches were sent.
    Close,
    /// The file cannot be read; nothing more of it comes.
    Failed { index: usize, error: anyhow::Error },
}

/// The receiver is gone: there is no use in going on.
struct Gone;

/// Reads all files of `indices`, until the receiver goes away or `halt` is set.
pub fn read_all(
    job: &Job,
    indices: impl Iterator<Item = usize> + Send,
    halt: &AtomicBool,
    out: &SyncSender<Fed>,
) {
    thread::scope(|scope| {
        // The opened file is handed over, not laid down: there is no third one.
        let (opened, inputs) = sync_channel(0);
        scope.spawn(move || {
            for index in indices {
                let input = guarded(job, index, || Input::open(job, &job.inputs[index]));
                if opened.send((index, input)).is_err() {
                    return;
                }
            }
        });
        for (index, input) in inputs {
            let sent =
                input.and_then(|input| guarded(job, index, || send(job, index, input, halt, out)));
            let gone = match sent {
                Ok(Ok(())) => false,
                Ok(Err(Gone)) => true,
                Err(error) => out.send(Fed::Failed { index, error }).is_err(),
            };
            if gone {
                return;
            }
        }
    });
}

/// Turns a panic into an error about the file.
fn guarded<T>(job: &Job, index: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        Err(anyhow!(
            "{}: reading it failed inside the program: {}",
            job.inputs[index].display(),
            panic_text(&*panic)
        ))
    })
}

/// An input file with what its patches need.
pub struct Input {
    pub source: Source,
    pub statistics: Statistics,
    pub plan: Plan,
}

impl Input {
    /// Opens a file and checks that it fits the network and the patches.
    pub fn open(job: &Job, path: &Path) -> Result<Self> {
        let reader = format::open(path, &job.raw)?;
        let plan = job.plan_for(&*reader).with_context(|| path.display().to_string())?;
        let (source, statistics) = Source::raw(reader, job.access)?;
        job.recipe
            .check_statistics(&statistics)
            .with_context(|| format!("{} cannot be transformed", path.display()))?;
        Ok(Input { source, statistics, plan })
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

/// Where patches are cut from: the volume in memory, or the part of a file that a
/// row of patches along x needs, which is read at once.
struct Patches<'a> {
    job: &'a Job,
    input: &'a Input,
    strip: Option<Strip>,
}

/// What a row of patches sees of a file.
struct Strip {
    /// Layer and row of the patches.
    row: [usize; 2],
    volume: Volume,
    /// For each voxel of the padded row along z, y and x, where it is in `volume`.
    indices: [Vec<usize>; 3],
}

impl Strip {
    fn read(job: &Job, plan: &Plan, dataset: &dyn VolumeReader, row: [usize; 2]) -> Result<Strip> {
        let corner = plan.corner([row[0], row[1], 0]);
        let [depth, height, _] = job.grid.patch;
        let window = Window::new(corner, [depth, height, plan.axes[2].size]);
        let (window, indices) = job.mirror.sources(&window, dataset.size());
        let threads = thread::available_parallelism().map_or(1, |n| n.get());
        let volume = dataset.read_part(0..dataset.channels(), &window, threads)?;
        Ok(Strip { row, volume, indices })
    }

    fn patch(&self, job: &Job, x: usize) -> Volume {
        let [depth, height, width] = job.grid.patch;
        if job.mirror.is_none() {
            return self.volume.window(&Window::new([0, 0, x], [depth, height, width]));
        }
        let [zs, ys, xs] = &self.indices;
        self.volume.gather(&[zs.clone(), ys.clone(), xs[x..x + width].to_vec()])
    }
}

impl Patches<'_> {
    /// A patch as the network takes it.
    fn patch(&mut self, number: u64, patch: [usize; 3]) -> Result<Volume> {
        let (job, plan) = (self.job, &self.input.plan);
        let corner = plan.corner(patch);
        let raw = match &self.input.source {
            Source::File(dataset) => {
                let row = [patch[0], patch[1]];
                let strip = match self.strip.take().filter(|strip| strip.row == row) {
                    Some(strip) => strip,
                    None => Strip::read(job, plan, &**dataset, row)?,
                };
                self.strip.insert(strip).patch(job, corner[2])
            }
            source => source.mirrored(&Window::new(corner, job.grid.patch), &job.mirror)?,
        };
        let key = SampleKey { seed: 0, epoch: 0, sample: number };
        let raw = job.recipe.apply_raw(raw, key, &self.input.statistics)?;
        ensure!(
            raw.has_channels
                && raw.size() == job.grid.patch
                && raw.channels() as i64 == job.network.in_channels,
            "the transforms of `loaders.test.transformer.raw` turn a patch {:?} into {:?}; \
             prediction needs transforms that keep its shape",
            job.grid.patch,
            raw.shape()
        );
        Ok(raw)
    }
}

fn send(
    job: &Job,
    index: usize,
    input: Input,
    halt: &AtomicBool,
    out: &SyncSender<Fed>,
) -> Result<Result<(), Gone>> {
    let context = || job.inputs[index].display().to_string();
    let raw = if job.output.preview { Some(input.projection()?) } else { None };
    let dropped = Arc::new(AtomicBool::new(false));
    let fed = Fed::Open { index, plan: input.plan.clone(), raw, dropped: dropped.clone() };
    if out.send(fed).is_err() {
        return Ok(Err(Gone));
    }
    let numbers: Vec<_> = input.plan.patches().zip(0..).collect();
    let mut patches = Patches { job, input: &input, strip: None };
    for batch in numbers.chunks(job.batch_size) {
        if job.stop.load(Ordering::Relaxed) || halt.load(Ordering::Relaxed) {
            return Ok(Err(Gone));
        }
        if dropped.load(Ordering::Relaxed) {
            return Ok(Ok(()));
        }
        let raw = batch.iter().map(|(patch, number)| patches.patch(*number, *patch));
        let raw = raw.collect::<Result<Vec<_>>>().with_context(context)?;
        let patches = batch.iter().map(|(patch, _)| *patch).collect();
        if out.send(Fed::Batch { patches, raw }).is_err() {
            return Ok(Err(Gone));
        }
    }
    Ok(out.send(Fed::Close).map_err(|_| Gone))
}
