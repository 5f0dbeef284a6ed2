//! Samples as a batch on the device, labels and weights in their compact forms.

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

use crate::device::stack;
use crate::target::{Labels, Weights};
use crate::volume::Sample;

/// A batch on the device.
pub struct TensorBatch {
    /// (N, C, D, H, W)
    pub raw: Tensor,
    pub labels: Labels,
    pub weights: Option<Weights>,
}

impl TensorBatch {
    /// Moves samples to the device; floats become `float`.
    ///
    /// # Errors
    /// Samples of different shapes, samples of which some have labels or weights and
    /// others have none, or a device that is out of memory.
    pub fn new(samples: Vec<Sample>, float: Kind, device: Device) -> Result<Self> {
        let size = samples.len();
        let (mut raw, mut labels, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for sample in samples {
            raw.push(sample.raw);
            labels.extend(sample.label);
            weights.extend(sample.weight);
        }
        ensure!(
            labels.len() == size && (weights.is_empty() || weights.len() == size),
            "some samples of a batch have labels or weights, others have none"
        );
        Ok(TensorBatch {
            raw: stack(raw, float, device)?,
            labels: Labels::stack(labels, float, device)?,
            weights: match weights.is_empty() {
                true => None,
                false => Some(Weights::stack(weights, float, device)?),
            },
        })
    }

    /// Moves the samples of a step to the device, in batches of `size`.
    ///
    /// # Errors
    /// As [`TensorBatch::new`].
    pub fn several(
        samples: Vec<Sample>,
        size: usize,
        float: Kind,
        device: Device,
    ) -> Result<Vec<Self>> {
        let mut batches = Vec::new();
        let mut samples = samples.into_iter().peekable();
        while samples.peek().is_some() {
            batches.push(TensorBatch::new(samples.by_ref().take(size).collect(), float, device)?);
        }
        Ok(batches)
    }
}
