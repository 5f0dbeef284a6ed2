//! Regions as a stage of prediction.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use log::info;
use ndarray::{ArrayView4, Axis};

use crate::cli;
use crate::config::{ConfigError, Section};
use crate::format;
use crate::instances::partners::shown;
use crate::instances::{Held, InstancesPlan};
use crate::predict::{FilePair, ResultSink, ResultStage};

use super::images::{Images, Resources, wanted_channels};
use super::job::{Job, check_jobs};
use super::section;

/// Makes the regions of every prediction of a run.
#[derive(Debug)]
struct InstancesStage {
    options: Arc<cli::Instances>,
    plan: InstancesPlan,
    threads: usize,
}

/// The stage that a section `instances` of a configuration asks for; `None` without it.
///
/// # Errors
/// Keys that the command would refuse as flags.
pub fn stage(
    top: &Section<'_>,
    threads: usize,
) -> Result<Option<Arc<dyn ResultStage>>, ConfigError> {
    let Some(node) = top.child("instances") else { return Ok(None) };
    let options = section::options(node)?;
    let plan = options.plan().map_err(|fault| node.error(section::as_keys(&fault.to_string())))?;
    Ok(Some(Arc::new(InstancesStage { options: Arc::new(options), plan, threads })))
}

impl ResultStage for InstancesStage {
    fn check(&self, files: &[FilePair]) -> Result<()> {
        let jobs: Vec<Job> =
            files.iter().map(|files| Job::new(files.output.clone(), &self.options)).collect();
        check_jobs(&jobs, &self.options).context("`instances`")
    }

    fn is_up_to_date(&self, files: &FilePair) -> bool {
        Job::new(files.output.clone(), &self.options).is_up_to_date(&self.options)
    }

    fn begin(
        &self,
        files: &FilePair,
        size: [usize; 3],
        channels: usize,
    ) -> Result<Box<dyn ResultSink>> {
        let job = Job::new(files.output.clone(), &self.options);
        job.prepare().with_context(|| format!("`instances` of {}", shown(&files.input)))?;
        let wanted = wanted_channels(&self.options, channels);
        let missing = wanted.iter().find(|channel| **channel >= channels);
        ensure!(
            missing.is_none(),
            "`instances`: the prediction has {channels} channel(s), counted from 0: there is no \
             channel {}",
            missing.unwrap_or(&0)
        );
        let voxels: usize = size.iter().product();
        let bytes = voxels.saturating_mul(size_of::<f32>());
        // A larger one is read again, slab by slab.
        let held = (bytes <= self.options.memory << 20)
            .then(|| wanted.iter().map(|_| vec![0.0; voxels]).collect());
        Ok(Box::new(Collected {
            job,
            options: self.options.clone(),
            plan: self.plan.clone(),
            threads: self.threads,
            size,
            wanted,
            held,
        }))
    }
}

/// The channels of a result that regions are made of.
struct Collected {
    job: Job,
    options: Arc<cli::Instances>,
    plan: InstancesPlan,
    threads: usize,
    size: [usize; 3],
    wanted: Vec<usize>,
    /// The voxels of each wanted channel; `None` if they are too many.
    held: Option<Vec<Vec<f32>>>,
}

impl ResultSink for Collected {
    fn add(
        &mut self,
        channel: usize,
        [z, y]: [usize; 2],
        values: ArrayView4<'_, f32>,
    ) -> Result<()> {
        let Some(held) = &mut self.held else { return Ok(()) };
        let [_, height, width] = self.size;
        for (_, volume) in self.wanted.iter().zip(held).filter(|(wanted, _)| **wanted == channel) {
            for (dz, slice) in values.index_axis(Axis(0), 0).outer_iter().enumerate() {
                for (dy, row) in slice.outer_iter().enumerate() {
                    let start = ((z + dz) * height + y + dy) * width;
                    for (to, value) in volume[start..start + width].iter_mut().zip(row) {
                        *to = *value;
                    }
                }
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let Collected { job, options, plan, threads, size, held, .. } = *self;
        let resources = Resources { threads, memory: options.memory << 20 };
        let images = match held {
            Some(held) => {
                let channels = held.into_iter().map(|values| Held::new(values, size)).collect();
                // The result is in place, and knows the voxel size that it inherited.
                let voxel_size = format::open(&job.input, &options.dataset)?.voxel_size();
                Images::of_memory(channels, voxel_size, &job.input, &options, resources)?
            }
            None => Images::open(&job.input, &options, resources)?,
        };
        let count = job.write(&images, &options, &plan, resources)?;
        info!("{}: {count} region(s)", shown(&job.outputs()[0]));
        Ok(())
    }
}
