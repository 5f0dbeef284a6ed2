//! Weights of a batch, dense or as rows of a table.

use anyhow::Result;
use tch::{Device, Kind, TchError, Tensor};

use crate::device::{stack, stack_indices, to_tensor};
use crate::volume::{Palette, Volume, Voxels};

use super::{expanded, held_alike};

/// Weights of a batch, on the device of the logits.
///
/// The weights of a voxel often depend only on the cell that it belongs to, so the
/// number of a row of weights says the same as the row, in a small part of the
/// memory.
#[derive(Debug)]
pub enum Weights {
    /// (N, D, H, W) or (N, C, D, H, W), as the data set has them.
    Dense(Tensor),
    /// (N, C, D, H, W) as the row of `table`, (rows, C), that each voxel has:
    /// `index` is int64 (N, D, H, W).
    Palette { index: Tensor, table: Tensor },
}

impl Weights {
    /// Puts the weights of samples on a device as one batch: as rows of a table if
    /// all are held so, with the tables one below the other, else dense. Floats are
    /// cast to `float`.
    ///
    /// # Errors
    /// No weights, weights of different shapes, or a device that is out of memory.
    pub fn stack(weights: Vec<Voxels>, float: Kind, device: Device) -> Result<Self> {
        let columns = |palette: &Palette| (palette.channels(), palette.element());
        let Some(held) = held_alike(&weights, Voxels::palette, columns) else {
            return Ok(Weights::Dense(stack(expanded(weights), float, device)?));
        };
        let mut rows = 0;
        let (mut indices, mut tables) = (Vec::new(), Vec::new());
        for palette in held {
            indices.push((&palette.indices, rows));
            rows += palette.columns() as i64;
            let table = to_tensor(Volume::channelled(palette.table.clone()))?;
            tables.push(table.f_view([palette.columns() as i64, palette.channels() as i64])?);
        }
        let table = Tensor::f_cat(&tables, 0)?;
        let table = if table.is_floating_point() { table.f_to_kind(float)? } else { table };
        Ok(Weights::Palette {
            index: stack_indices(indices, device)?,
            table: table.f_to_device(device)?,
        })
    }

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
    pub fn of_class(&self, index: &Tensor) -> Result<Tensor, TchError> {
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
    pub fn channel(&self, c: i64) -> Result<Tensor, TchError> {
        match self {
            Weights::Dense(weight) if weight.dim() == 3 => Ok(weight.shallow_clone()),
            Weights::Dense(weight) => weight.f_get(c),
            Weights::Palette { index, table } => table.f_select(1, c)?.f_take(index),
        }
    }

    /// The weights of sample `n`, without the batch axis.
    pub fn sample(&self, n: i64) -> Result<Weights, TchError> {
        Ok(match self {
            Weights::Dense(weight) => Weights::Dense(weight.f_get(n)?),
            Weights::Palette { index, table } => {
                Weights::Palette { index: index.f_get(n)?, table: table.shallow_clone() }
            }
        })
    }

    /// 1 where the weight is above 0, else 0.
    pub fn above_zero(&self) -> Result<Weights, TchError> {
        Ok(match self {
            Weights::Dense(weight) => Weights::Dense(weight.f_gt(0)?),
            Weights::Palette { index, table } => {
                Weights::Palette { index: index.shallow_clone(), table: table.f_gt(0)? }
            }
        })
    }
}
