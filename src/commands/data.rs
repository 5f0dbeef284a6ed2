//! Training and validation data, opened and checked against network and loss.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::augment::{SampleShape, Transformer};
use crate::config::{ConfigError, Node, Section};
use crate::runtime::memory;
use crate::samples::{
    LabelCheck, Loader, Opening, SampleSet, file_paths, refuse_overlap, required,
};
use crate::target::TargetShapes;

use super::plan::Plan;

/// The loaders of both phases.
pub struct TrainingData {
    pub train: Loader,
    pub val: Loader,
}

impl TrainingData {
    /// Opens all files of `loaders.train` and `loaders.val`.
    ///
    /// # Errors
    /// Broken files; patches, labels or weights that do not fit the network, the
    /// loss or the metric. Found before the first batch is made.
    pub fn open(plan: &Plan<'_>, seed: u64) -> Result<Self> {
        let (train, val) = (plan.loaders.phase("train")?, plan.loaders.phase("val")?);
        if plan.loaders.dataset.has_slice_builder {
            let paths = |phase: &Section<'_>| file_paths(required(phase, "file_paths")?);
            refuse_overlap(&paths(&train)?, &paths(&val)?, required(&val, "file_paths")?)?;
        }
        let memory = (memory::available().unwrap_or(4 << 30) / 2) as usize;
        let batch_size = plan.loaders.batch_size;
        let loader = |phase: &Section<'_>, name: &str| -> Result<Loader> {
            let data = open_phase(plan, phase, name, seed)?;
            Ok(Loader::new(data, batch_size, plan.loaders.num_workers, memory))
        };
        Ok(TrainingData {
            train: loader(&train, "train")?.shuffled(seed),
            val: loader(&val, "val")?,
        })
    }
}

fn open_phase(
    plan: &Plan<'_>,
    phase: &Section<'_>,
    name: &str,
    seed: u64,
) -> Result<Arc<dyn SampleSet>> {
    let check = |transformer: &Transformer, path: &Path, input: SampleShape| {
        check_input(plan, phase, name, transformer, input)
            .with_context(|| path.display().to_string())
    };
    let opening = Opening { seed, check: &check };
    (plan.loaders.dataset.open)(&plan.loaders, phase, &opening)
}

/// Checks what the transforms make of the patches of a file. Returns the labels
/// that the loss can take, if it takes class indices.
fn check_input(
    plan: &Plan<'_>,
    phase: &Section<'_>,
    name: &str,
    steps: &Transformer,
    input: SampleShape,
) -> Result<Option<LabelCheck>, ConfigError> {
    steps.check_batch(plan.loaders.batch_size, &input)?;
    let output = steps.output_shape(input)?;
    let transformer: &Node = required(phase, "transformer")?;
    let wanted = plan.network.in_channels as usize;
    let channels = output.raw.network_channels().map_err(|error| transformer.error(error))?;
    if channels != wanted {
        return Err(plan.top.error(
            "model",
            format!("`in_channels` is {wanted}, but raw patches have {channels} channel(s)"),
        ));
    }
    for size in &output.raw.sizes {
        plan.network.check_patch(*size).map_err(|error| {
            let patches = plan.loaders.dataset.has_slice_builder;
            let key = if patches { "slice_builder" } else { "file_paths" };
            phase.error(key, format!("patches {size:?}: {error}"))
        })?;
    }
    let labels = output.label.ok_or_else(|| phase.node.error("there are no labels"))?;
    let shapes = TargetShapes {
        phase: name,
        out_channels: plan.network.out_channels as usize,
        labels,
        weight: output.weight,
    };
    plan.loss.check(&shapes)?;
    plan.metric.check(&shapes)?;
    Ok(plan
        .loss
        .label_range(&shapes)
        .map(|range| LabelCheck { classes: range.classes as usize, ignore_index: range.ignored }))
}
