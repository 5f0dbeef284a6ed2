//! Labels and weights of a batch in the compact forms that a loss can work on.
//!
//! At most one class is set at a voxel of a one-hot label, and the weights of a
//! voxel depend only on the cell it belongs to; so an index says the same as a
//! column of numbers, in a small part of the memory.

use anyhow::Result;
use tch::{Kind, TchError, Tensor};

/// Labels of a batch, on the device of the logits.
#[derive(Debug)]
pub enum Truth {
    /// (N, D, H, W) or (N, C, D, H, W), as the data set has them.
    Dense(Tensor),
    /// One-hot labels (N, `channels`, D, H, W) as int64 `index` (N, D, H, W): the
    /// channel that is 1, or [`NO_CLASS`] where all are 0.
    OneHot { index: Tensor, channels: i64 },
}

/// The index of a voxel at which no channel of a one-hot label is set.
pub const NO_CLASS: i64 = -1;

/// Weights of a batch, on the device of the logits.
#[derive(Debug)]
pub enum Weights {
    /// (N, D, H, W) or (N, C, D, H, W), as the data set has them.
    Dense(Tensor),
    /// (N, C, D, H, W) as the row of `table`, (rows, C), that each voxel has:
    /// `index` is int64 (N, D, H, W).
    Palette { index: Tensor, table: Tensor },
}

impl Truth {
    /// The labels as the data set has them; one-hot ones are made of type `kind`.
    pub fn dense(&self, kind: Kind) -> Result<Tensor, TchError> {
        match self {
            Truth::Dense(target) => Ok(target.shallow_clone()),
            Truth::OneHot { index, channels } => {
                let mut size = index.size();
                size.insert(1, *channels);
                let set = index.f_ge(0)?.f_to_kind(kind)?.f_unsqueeze(1)?;
                let index = index.f_clamp_min(0)?.f_unsqueeze(1)?;
                Tensor::f_zeros(&size[..], (kind, set.device()))?.f_scatter_(1, &index, &set)
            }
        }
    }

    /// D of (N, D, H, W) or (N, C, D, H, W).
    pub fn depth(&self) -> i64 {
        let (Truth::Dense(target) | Truth::OneHot { index: target, .. }) = self;
        target.size().iter().rev().nth(2).copied().unwrap_or(0)
    }

    /// The labels of slice `z`, with a depth of 1.
    pub fn slice(&self, z: i64) -> Result<Truth, TchError> {
        Ok(match self {
            Truth::Dense(target) => Truth::Dense(target.f_narrow(-3, z, 1)?),
            Truth::OneHot { index, channels } => {
                Truth::OneHot { index: index.f_narrow(-3, z, 1)?, channels: *channels }
            }
        })
    }

    /// The labels of sample `n`, without the batch axis.
    pub(crate) fn sample(&self, n: i64) -> Result<Truth, TchError> {
        Ok(match self {
            Truth::Dense(target) => Truth::Dense(target.f_get(n)?),
            Truth::OneHot { index, channels } => {
                Truth::OneHot { index: index.f_get(n)?, channels: *channels }
            }
        })
    }
}

impl Weights {
    /// The weights as the data set has them.
    pub fn dense(&self) -> Result<Tensor, TchError> {
        match self {
            Weights::Dense(weight) => Ok(weight.shallow_clone()),
            Weights::Palette { index, table } => {
                // (N, D, H, W, C), then the channels where they belong.
                let columns = table.f_index_select(0, &index.f_flatten(0, -1)?)?;
                let mut size = index.size();
                size.push(table.size()[1]);
                columns.f_view(&size[..])?.f_movedim_int(-1, 1)
            }
        }
    }

    /// The weight of every voxel for the class `index`, (N, D, H, W) or without
    /// the batch axis, within the classes; of the type of the weights.
    pub(crate) fn of_class(&self, index: &Tensor) -> Result<Tensor, TchError> {
        match self {
            Weights::Dense(weight) if weight.dim() == index.dim() => Ok(weight.shallow_clone()),
            Weights::Dense(weight) => {
                let axis = weight.dim() as i64 - 4;
                weight.f_gather(axis, &index.f_unsqueeze(axis)?, false)?.f_squeeze_dim(axis)
            }
            Weights::Palette { index: row, table } => {
                let at = row.f_mul_scalar(table.size()[1])?.f_add_(index)?;
                table.f_take(&at)
            }
        }
    }

    /// The weights (D, H, W) of one sample, such as [`Weights::sample`] gives, for
    /// the class `c`.
    pub(crate) fn channel(&self, c: i64) -> Result<Tensor, TchError> {
        match self {
            Weights::Dense(weight) if weight.dim() == 3 => Ok(weight.shallow_clone()),
            Weights::Dense(weight) => weight.f_get(c),
            Weights::Palette { index, table } => table.f_select(1, c)?.f_take(index),
        }
    }

    /// The weights of sample `n`, without the batch axis.
    pub(crate) fn sample(&self, n: i64) -> Result<Weights, TchError> {
        Ok(match self {
            Weights::Dense(weight) => Weights::Dense(weight.f_get(n)?),
            Weights::Palette { index, table } => {
                Weights::Palette { index: index.f_get(n)?, table: table.shallow_clone() }
            }
        })
    }

    /// 1 where the weight is above 0, else 0.
    pub(crate) fn above_zero(&self) -> Result<Weights, TchError> {
        Ok(match self {
            Weights::Dense(weight) => Weights::Dense(weight.f_gt(0)?),
            Weights::Palette { index, table } => {
                Weights::Palette { index: index.shallow_clone(), table: table.f_gt(0)? }
            }
        })
    }
}
