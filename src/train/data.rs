//! Training and validation data, opened and checked against network and criteria.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

use anyhow::{Context, Result};

use crate::augment::{SampleShape, Transformer};
use crate::config::{ConfigError, Node};
use crate::model::NetworkSpec;
use crate::runtime::memory;
use crate::samples::{
    Counting, Division, LabelCheck, Loader, Loaders, Opening, Phase, refuse_overlap,
};
use crate::target::TargetShapes;
use crate::volume::Statistics;

use super::plan::Criteria;

/// What the network learns from and is judged on, before any file is opened.
pub struct DataPlan {
    loaders: Loaders,
    train: Phase,
    val: Phase,
    /// Where errors about the network's channels point to.
    model: Node,
}

/// The loaders of both phases.
pub struct TrainingData {
    pub train: Loader,
    pub val: Loader,
}

impl TrainingData {
    /// What the data of both phases are like, in one line: the same on two machines that see
    /// the same files.
    pub fn summary(&self) -> String {
        let of = |loader: &Loader| {
            /// Samples whose places are compared.
            const COMPARED: usize = 10_000;
            let data = loader.data();
            let mut places = DefaultHasher::new();
            for index in (0..data.len()).step_by(data.len().div_ceil(COMPARED).max(1)) {
                data.origin(0, index).to_string().hash(&mut places);
            }
            let values = data.summary().map_or(String::new(), |summary| {
                let Statistics { min, max, mean, std } = summary.statistics;
                // Sums differ in their last bits between processors.
                format!(", values {min} to {max}, mean {mean:.6e} ± {std:.6e}")
            });
            format!("{} patches at {:016x}{values}", data.len(), places.finish())
        };
        format!("training {}; validation {}", of(&self.train), of(&self.val))
    }
}

impl DataPlan {
    /// Reads the `loaders` section.
    ///
    /// # Errors
    /// Missing keys, impossible values, and patches that the network cannot take.
    pub fn read(node: &Node, model: &Node, network: &NetworkSpec) -> Result<Self, ConfigError> {
        let loaders = Loaders::read(node)?;
        let (train, val) = (loaders.training_phase("train")?, loaders.training_phase("val")?);
        for patches in [&train, &val].into_iter().filter_map(|phase| phase.patches.as_ref()) {
            network
                .check_patch(patches.builder.patch())
                .map_err(|error| patches.node.error(format!("`patch_shape`: {error}")))?;
        }
        Ok(DataPlan { loaders, train, val, model: model.clone() })
    }

    /// Size (D, H, W) of the training patches; `None` if samples are whole images.
    pub fn patch(&self) -> Option<[usize; 3]> {
        self.train.patches.as_ref().map(|patches| patches.builder.patch())
    }

    /// Samples of a batch.
    pub fn batch_size(&self) -> usize {
        self.loaders.batch_size
    }

    /// Whether a weight map is loaded.
    pub fn has_weights(&self) -> bool {
        self.loaders.weight.is_some()
    }

    /// Opens all files of both phases; steps are divided as `division` says.
    ///
    /// # Errors
    /// Broken files; patches, labels or weights that do not fit the network, the
    /// loss or the metric. Found before the first batch is made.
    pub fn open(
        &self,
        network: &NetworkSpec,
        criteria: &Criteria,
        (seed, division): (u64, Division),
    ) -> Result<TrainingData> {
        if let (Some(_), Some(_)) = (&self.train.patches, &self.val.patches) {
            let (train, val) = (self.train.files()?, self.val.files()?);
            refuse_overlap(&train, &val, &self.val.file_paths.node)?;
        }
        let memory = (memory::available().unwrap_or(4 << 30) / 2) as usize;
        let loader = |phase: &Phase| -> Result<Loader> {
            let check = |transformer: &Transformer, path: &Path, input: SampleShape| {
                self.check_input(phase, transformer, input, (network, criteria))
                    .with_context(|| path.display().to_string())
            };
            let counting = Counting {
                ignored: criteria.loss.ignored(),
                weighted: criteria.loss.uses_weights(),
            };
            let opening = Opening { seed, check: &check, counting };
            let data = (self.loaders.dataset.open)(&self.loaders, phase, &opening)?;
            let Loaders { batch_size, num_workers, .. } = self.loaders;
            Ok(Loader::new(data, batch_size, num_workers, memory).divided(division))
        };
        Ok(TrainingData { train: loader(&self.train)?.shuffled(seed), val: loader(&self.val)? })
    }

    /// Checks what the transforms make of the patches of a file. Returns the labels
    /// that the loss can take, if it takes class indices.
    fn check_input(
        &self,
        phase: &Phase,
        transformer: &Transformer,
        input: SampleShape,
        (network, criteria): (&NetworkSpec, &Criteria),
    ) -> Result<Option<LabelCheck>, ConfigError> {
        transformer.check_batch(self.loaders.batch_size, &input)?;
        let output = transformer.output_shape(input)?;
        let wanted = network.in_channels as usize;
        let channels =
            output.raw.network_channels().map_err(|error| phase.transforms.error(error))?;
        if channels != wanted {
            return Err(self.model.error(format!(
                "`in_channels` is {wanted}, but raw patches have {channels} channel(s)"
            )));
        }
        for size in &output.raw.sizes {
            network.check_patch(*size).map_err(|error| {
                let node =
                    phase.patches.as_ref().map_or(&phase.file_paths.node, |patches| &patches.node);
                node.error(format!("patches {size:?}: {error}"))
            })?;
        }
        let labels = output.label.ok_or_else(|| phase.node.error("there are no labels"))?;
        let shapes = TargetShapes {
            phase: phase.name,
            out_channels: network.out_channels as usize,
            labels,
            weight: output.weight,
        };
        criteria.loss.check(&shapes)?;
        criteria.metric.check(&shapes)?;
        Ok(criteria.loss.label_range(&shapes).map(|range| LabelCheck {
            classes: range.classes as usize,
            ignore_index: range.ignored,
        }))
    }
}
