//! The first stage: opens files one after the other and sends their patches.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;

use anyhow::{Context, Result, anyhow, ensure};
use ndarray::{Array2, Axis};

use crate::augment::stream::SampleKey;
use crate::report::panic_text;
use crate::stitch::Plan;
use crate::volume::{InputFile, Source, Statistics, Volume, Window};

use super::job::Job;

/// What the reader sends on, in the order of files and patches.
pub enum Fed {
    /// A file begins.
    Open { index: usize, plan: Plan, raw: Option<Array2<f32>> },
    /// Patches of the file, transformed, each (C, D, H, W).
    Batch { patches: Vec<[usize; 3]>, raw: Vec<Volume> },
    /// All patches were sent.
    Close,
    /// The file cannot be read; nothing more of it comes.
    Failed { index: usize, error: anyhow::Error },
}

/// The receiver is gone: there is no use in going on.
struct Gone;

/// Reads all files of `indices`, until the receiver goes away.
pub fn read_all(job: &Job, indices: impl Iterator<Item = usize>, out: &SyncSender<Fed>) {
    for index in indices {
        let done = catch_unwind(AssertUnwindSafe(|| read_one(job, index, out)));
        let failed = match done {
            Ok(Ok(Ok(()))) => continue,
            Ok(Ok(Err(Gone))) => return,
            Ok(Err(error)) => error,
            Err(panic) => anyhow!(
                "{}: reading it failed inside the program: {}",
                job.inputs[index].display(),
                panic_text(&*panic)
            ),
        };
        if out.send(Fed::Failed { index, error: failed }).is_err() {
            return;
        }
    }
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
        let dataset = InputFile::open(path)?.dataset(&job.raw)?;
        let (channels, wanted) = (dataset.channels(), job.network.in_channels as usize);
        ensure!(
            channels == wanted,
            "{}: `{}` has {channels} channel(s) (shape {:?}), the network takes {wanted}: \
             set `model.in_channels` to the number it was trained with, or choose another `raw_internal_path`",
            path.display(),
            job.raw,
            dataset.shape()
        );
        let plan = job
            .plan(dataset.size())
            .with_context(|| format!("{} (volume {:?})", path.display(), dataset.size()))?;
        let (source, statistics) = if job.lazy {
            let statistics = dataset.statistics()?;
            (Source::File(dataset), statistics)
        } else {
            let volume = dataset.read()?;
            let statistics = Statistics::of(&volume)
                .with_context(|| format!("{}: `{}`", path.display(), job.raw))?;
            (Source::from(volume), statistics)
        };
        job.recipe
            .check_statistics(&statistics)
            .with_context(|| format!("{} cannot be transformed", path.display()))?;
        Ok(Input { source, statistics, plan })
    }

    /// The maximum of the raw data along channels and z, (H, W).
    fn projection(&self) -> Result<Array2<f32>> {
        let [depth, height, width] = self.source.size();
        let mut most = Array2::from_elem((height, width), f32::NEG_INFINITY);
        for z in 0..depth {
            let plane = self.source.window(&Window::new([z, 0, 0], [1, height, width]))?.into_f32();
            for channel in plane.axis_iter(Axis(0)) {
                most.zip_mut_with(&channel.index_axis(Axis(0), 0), |m, v| *m = m.max(*v));
            }
        }
        Ok(most)
    }

    /// A patch as the network takes it.
    pub fn patch(&self, job: &Job, number: u64, patch: [usize; 3]) -> Result<Volume> {
        let window = Window::new(self.plan.corner(patch), job.grid.patch);
        let raw = self.source.mirrored(&window, &job.mirror)?;
        let key = SampleKey { seed: 0, epoch: 0, sample: number };
        let raw = job.recipe.apply_raw(raw, key, &self.statistics)?;
        ensure!(
            raw.size() == job.grid.patch && raw.channels() as i64 == job.network.in_channels,
            "the transforms of `loaders.test.transformer.raw` turn a patch {:?} into {:?}; \
             prediction needs transforms that keep its shape",
            job.grid.patch,
            raw.shape()
        );
        ensure!(
            raw.has_channels,
            "the network takes patches (C, D, H, W), these are {:?}: end \
             `loaders.test.transformer.raw` with ToTensor and expand_dims: true",
            raw.shape()
        );
        Ok(raw)
    }
}

fn read_one(job: &Job, index: usize, out: &SyncSender<Fed>) -> Result<Result<(), Gone>> {
    let path = &job.inputs[index];
    let input = Input::open(job, path)?;
    let patches: Vec<_> = input.plan.patches().collect();
    let raw = if job.output.preview { Some(input.projection()?) } else { None };
    if out.send(Fed::Open { index, plan: input.plan.clone(), raw }).is_err() {
        return Ok(Err(Gone));
    }
    let mut number = 0;
    for batch in patches.chunks(job.batch_size) {
        if job.stop.load(Ordering::Relaxed) {
            return Ok(Err(Gone));
        }
        let mut raw = Vec::with_capacity(batch.len());
        for patch in batch {
            raw.push(input.patch(job, number, *patch).with_context(|| path.display().to_string())?);
            number += 1;
        }
        if out.send(Fed::Batch { patches: batch.to_vec(), raw }).is_err() {
            return Ok(Err(Gone));
        }
    }
    Ok(out.send(Fed::Close).map_err(|_| Gone))
}
