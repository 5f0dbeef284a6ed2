//! The `transformer` section of a phase: the transforms of a sample between file and network.

use std::collections::HashMap;

use anyhow::{Context, Result};

use super::step::TransformStep;
use super::stream::{SampleKey, Shared, StreamKey};
use super::{IndexMap, StatisticsOf, TRANSFORMS, TransformClass, TransformContext, agreement};
use crate::config::{ConfigError, Dialects, Node, Parameter};
use crate::volume::{Sample, Statistics, Volume, VolumeShape, Voxels};

/// The keys of a `transformer` section.
pub const TRANSFORMER: Dialects<&[Parameter]> = Dialects {
    fork: &[
        Parameter::entries("raw", &TRANSFORMS.fork, RAW_MEANING).required(),
        Parameter::entries("label", &TRANSFORMS.fork, LABEL_MEANING),
        Parameter::entries("weight", &TRANSFORMS.fork, "transforms of the weight map, in order"),
    ],
    upstream: &[
        Parameter::entries("raw", &TRANSFORMS.upstream, RAW_MEANING).required(),
        Parameter::entries("label", &TRANSFORMS.upstream, LABEL_MEANING),
    ],
};

const RAW_MEANING: &str = "transforms of the raw data, in order";
const LABEL_MEANING: &str = "transforms of the label, in order";

/// The lists of transforms of a phase.
pub struct Transformer {
    node: Node,
    raw: List,
    label: Option<List>,
    weight: Option<List>,
    statistics_of: StatisticsOf,
}

/// Shapes and types of the volumes of a sample, before or after a [`Transformer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleShape {
    pub raw: VolumeShape,
    pub label: Option<VolumeShape>,
    pub weight: Option<VolumeShape>,
}

/// Index of each data set in the keys of intensity transforms.
const RAW: u64 = 0;
const LABEL: u64 = 1;
const WEIGHT: u64 = 2;

impl Transformer {
    /// Reads a `transformer` section, in which `raw` is required and `label` and `weight` are
    /// optional. Unknown keys and lists with different geometry become warnings of the tree.
    ///
    /// # Errors
    /// A transform that does not exist, is not supported yet, or whose keys have
    /// wrong types or impossible values.
    pub fn read(node: &Node) -> Result<Transformer, ConfigError> {
        let mut transformer = Transformer::read_raw(node)?;
        let section = node.section(*TRANSFORMER.of(node.dialect()))?;
        transformer.label = section.child("label").map(List::read).transpose()?;
        if section.knows("weight") {
            transformer.weight = section.child("weight").map(List::read).transpose()?;
        }
        for (name, list) in [("label", &transformer.label), ("weight", &transformer.weight)] {
            if let Some(list) = list {
                agreement::compare(&transformer.raw.steps, name, &list.node, &list.steps);
            }
        }
        Ok(transformer)
    }

    /// Like [`Transformer::read`], for the `raw` list only, which is what prediction needs.
    pub fn read_raw(node: &Node) -> Result<Transformer, ConfigError> {
        let section = node.section(*TRANSFORMER.of(node.dialect()))?;
        // The table asks for the key.
        let raw = section.required("raw")?;
        Ok(Transformer {
            node: node.clone(),
            raw: List::read(raw)?,
            label: None,
            weight: None,
            statistics_of: StatisticsOf::File,
        })
    }

    /// The same with other statistics.
    ///
    /// # Errors
    /// A transform that cannot work without statistics of the file.
    pub fn with_statistics(mut self, of: StatisticsOf) -> Result<Transformer, ConfigError> {
        self.statistics_of = of;
        if of == StatisticsOf::Patch {
            let lists = [Some(&self.raw), self.label.as_ref(), self.weight.as_ref()];
            for step in lists.into_iter().flatten().flat_map(|list| &list.steps) {
                step.transform.check_patch_statistics().map_err(|m| step.node.error(m))?;
            }
        }
        Ok(self)
    }

    /// Transforms a sample. The result depends on the arguments only.
    pub fn apply(&self, sample: Sample, key: SampleKey, statistics: &Statistics) -> Result<Sample> {
        let shared = Shared::default();
        let statistics_of = self.statistics_of;
        let sample_context = SampleContext { key, statistics, statistics_of, shared: &shared };
        let target = |list: &Option<List>, volume: Option<Voxels>, data_set: u64| match volume {
            None => Ok(None),
            Some(volume) => match list {
                Some(list) => list.apply(volume, data_set, &sample_context).map(Some),
                None => Err(self.missing(data_set).into()),
            },
        };
        Ok(Sample {
            raw: self.raw.apply(sample.raw.into(), RAW, &sample_context)?.expand(),
            label: target(&self.label, sample.label, LABEL)?,
            weight: target(&self.weight, sample.weight, WEIGHT)?,
        })
    }

    /// Transforms raw data only.
    pub fn apply_raw(
        &self,
        raw: Volume,
        key: SampleKey,
        statistics: &Statistics,
    ) -> Result<Volume> {
        let (statistics_of, shared) = (self.statistics_of, &Shared::default());
        let sample_context = SampleContext { key, statistics, statistics_of, shared };
        Ok(self.raw.apply(raw.into(), RAW, &sample_context)?.expand())
    }

    /// The shapes and types of the result for samples with those of `input`.
    ///
    /// # Errors
    /// A transform that cannot take its input, or a data set without a list.
    pub fn output_shape(&self, input: SampleShape) -> Result<SampleShape, ConfigError> {
        let target = |list: &Option<List>, input: Option<VolumeShape>, data_set: u64| match input {
            None => Ok(None),
            Some(input) => match list {
                Some(list) => list.output_shape(input).map(Some),
                None => Err(self.missing(data_set)),
            },
        };
        Ok(SampleShape {
            raw: self.raw.output_shape(input.raw)?,
            label: target(&self.label, input.label, LABEL)?,
            weight: target(&self.weight, input.weight, WEIGHT)?,
        })
    }

    /// Refuses batches of several samples when a transform gives patches of one
    /// size different sizes.
    pub fn check_batch(&self, batch_size: usize, input: &SampleShape) -> Result<(), ConfigError> {
        if batch_size <= 1 {
            return Ok(());
        }
        self.raw.check_batch(batch_size, &input.raw)?;
        for (list, input) in [(&self.label, &input.label), (&self.weight, &input.weight)] {
            if let (Some(list), Some(input)) = (list, input) {
                list.check_batch(batch_size, input)?;
            }
        }
        Ok(())
    }

    /// Refuses a file whose statistics some transform cannot work with, such as
    /// constant raw data under `Normalize`.
    pub fn check_statistics(&self, statistics: &Statistics) -> Result<(), ConfigError> {
        let lists = [Some(&self.raw), self.label.as_ref(), self.weight.as_ref()];
        for step in lists.into_iter().flatten().flat_map(|list| &list.steps) {
            step.transform.check(statistics).map_err(|message| step.node.error(message))?;
        }
        Ok(())
    }

    fn missing(&self, data_set: u64) -> ConfigError {
        let name = if data_set == LABEL { "label" } else { "weight" };
        self.node.error(format!(
            "the list `{name}` is missing; `{name}: []` hands the {name} on as it is"
        ))
    }
}

/// Values that all lists of a sample share.
struct SampleContext<'a> {
    key: SampleKey,
    statistics: &'a Statistics,
    statistics_of: StatisticsOf,
    shared: &'a Shared,
}

/// The transforms of one data set.
struct List {
    node: Node,
    steps: Vec<TransformStep>,
}

impl List {
    fn read(node: &Node) -> Result<List, ConfigError> {
        let mut seen = HashMap::new();
        let steps = node.items()?.iter().map(|item| TransformStep::read(item, &mut seen));
        Ok(List { node: node.clone(), steps: steps.collect::<Result<_, _>>()? })
    }

    fn apply(
        &self,
        mut volume: Voxels,
        data_set: u64,
        sample_context: &SampleContext<'_>,
    ) -> Result<Voxels> {
        // Flips and quarter turns are collected here until a transform reads the voxels.
        let mut pending = IndexMap::IDENTITY;
        for step in &self.steps {
            let context = TransformContext {
                statistics: sample_context.statistics,
                statistics_of: sample_context.statistics_of,
                key: StreamKey {
                    seed: sample_context.key.seed,
                    epoch: sample_context.key.epoch,
                    sample: sample_context.key.sample,
                    name: step.entry.name,
                    occurrence: step.occurrence,
                    data_set: (step.entry.class == TransformClass::Intensity).then_some(data_set),
                },
                shared: sample_context.shared,
            };
            if let Some(map) = step.transform.index_map(&context) {
                pending = pending.then(map);
                continue;
            }
            volume = std::mem::replace(&mut pending, IndexMap::IDENTITY).apply_voxels(volume);
            volume = step
                .transform
                .apply_voxels(volume, &context)
                .with_context(|| format!("`{}`, {}", step.node.path, step.entry.name))?;
        }
        Ok(pending.apply_voxels(volume))
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ConfigError> {
        self.steps.iter().try_fold(input, |input, step| step.output_shape(input))
    }

    fn check_batch(&self, batch_size: usize, input: &VolumeShape) -> Result<(), ConfigError> {
        let mixed = self.output_shape(input.clone())?.sizes;
        if mixed.len() < 2 || input.sizes.len() != 1 {
            return Ok(());
        }
        let mut output_shape = input.clone();
        for step in &self.steps {
            output_shape = step.output_shape(output_shape)?;
            if output_shape.sizes.len() > 1 {
                let sizes: Vec<String> = mixed.iter().map(|size| format!("{size:?}")).collect();
                return Err(step.node.error(format!(
                    "patches come out in several sizes, {}, which cannot share a batch of \
                     {batch_size}: set `force_180: true`, restrict `axes` to planes in which the \
                     patch is square, or set `loaders.batch_size: 1`",
                    sizes.join(", ")
                )));
            }
        }
        Ok(())
    }
}
