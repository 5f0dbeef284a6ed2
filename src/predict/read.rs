//! The first stage: opens files one after the other and sends their patches.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::SyncSender;

use anyhow::{Context, Result, anyhow, ensure};

use crate::augment::stream::SampleKey;
use crate::stitch::Plan;
use crate::volume::{InputFile, Source, Statistics, Volume, Window};

use super::job::Job;

/// What the reader sends on, in the order of files and patches.
pub enum Fed {
    /// A file begins.
    Open { index: usize, plan: Plan },
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
            Err(panic) => {
                let cause = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()))
                    .unwrap_or_else(|| "unknown cause".into());
                anyhow!(
                    "{}: reading it failed inside the program: {cause}",
                    job.inputs[index].display()
                )
            }
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
    if out.send(Fed::Open { index, plan: input.plan.clone() }).is_err() {
        return Ok(Err(Gone));
    }
    let mut number = 0;
    for batch in patches.chunks(job.batch_size) {
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
