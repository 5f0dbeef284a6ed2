//! Labels of a batch, dense or as an index.

use anyhow::Result;
use tch::{Device, Kind, TchError, Tensor};

use crate::device::{stack, stack_indices};
use crate::volume::{OneHot, Voxels};

use super::{expanded, held_alike};

/// Labels of a batch, on the device of the logits.
///
/// At most one class is set at a voxel of a one-hot label, so the index of that
/// class says the same as a column of numbers, in a small part of the memory.
#[derive(Debug)]
pub enum Labels {
    /// (N, D, H, W) or (N, C, D, H, W), as the data set has them.
    Dense(Tensor),
    /// One-hot labels (N, `channels`, D, H, W) as int64 `index` (N, D, H, W): the
    /// channel that is 1, or [`NO_CLASS`] where all are 0.
    OneHot { index: Tensor, channels: i64 },
}

/// The index of a voxel at which no channel of a one-hot label is set.
pub const NO_CLASS: i64 = -1;

impl Labels {
    /// Puts the labels of samples on a device as one batch: as an index if all are
    /// held by class, else dense, with floats cast to `float`.
    ///
    /// # Errors
    /// No labels, labels of different shapes, or a device that is out of memory.
    pub fn stack(labels: Vec<Voxels>, float: Kind, device: Device) -> Result<Self> {
        let Some(held) = held_alike(&labels, Voxels::one_hot, |label| label.classes) else {
            return Ok(Labels::Dense(stack(expanded(labels), float, device)?));
        };
        let channels = held[0].classes as i64;
        let indices = held.iter().map(|label| (&label.indices, 0)).collect();
        let index = stack_indices(indices, device)?;
        // Volumes mark a voxel of no class with the largest index there is.
        let none = index.f_eq(i64::from(OneHot::NONE))?;
        Ok(Labels::OneHot { index: index.f_masked_fill(&none, NO_CLASS)?, channels })
    }

    /// The labels as the data set has them; one-hot ones are made of type `kind`.
    pub fn dense(&self, kind: Kind) -> Result<Tensor, TchError> {
        match self {
            Labels::Dense(labels) => Ok(labels.shallow_clone()),
            Labels::OneHot { index, channels } => {
                // The channel axis comes before the last three.
                let axis = index.dim() as i64 - 3;
                let mut size = index.size();
                size.insert(axis as usize, *channels);
                let set = index.f_ge(0)?.f_to_kind(kind)?.f_unsqueeze(axis)?;
                let index = index.f_clamp_min(0)?.f_unsqueeze(axis)?;
                Tensor::f_zeros(&size[..], (kind, set.device()))?.f_scatter_(axis, &index, &set)
            }
        }
    }

    /// D of (N, D, H, W) or (N, C, D, H, W).
    pub fn depth(&self) -> i64 {
        let (Labels::Dense(labels) | Labels::OneHot { index: labels, .. }) = self;
        labels.size().iter().rev().nth(2).copied().unwrap_or(0)
    }

    /// The labels of slice `z`, with a depth of 1.
    pub fn slice(&self, z: i64) -> Result<Labels, TchError> {
        self.with_tensor(|labels| labels.f_narrow(-3, z, 1))
    }

    /// The labels of sample `n`, without the batch axis.
    pub fn sample(&self, n: i64) -> Result<Labels, TchError> {
        self.with_tensor(|labels| labels.f_get(n))
    }

    /// These labels with `f` of the tensor that holds them.
    fn with_tensor(
        &self,
        f: impl FnOnce(&Tensor) -> Result<Tensor, TchError>,
    ) -> Result<Labels, TchError> {
        Ok(match self {
            Labels::Dense(labels) => Labels::Dense(f(labels)?),
            Labels::OneHot { index, channels } => {
                Labels::OneHot { index: f(index)?, channels: *channels }
            }
        })
    }
}
