//! Running sums of patch outputs, for the voxels that patches still reach.

use std::ops::Range;

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use super::tiling::{Inside, Tiling};

/// A box of the result that no later patch reaches: all x from some z and y on.
#[derive(Debug)]
pub struct FinishedBlock {
    /// First plane, in the result.
    pub z: usize,
    /// First row, in the result.
    pub y: usize,
    /// (C, d, h, W)
    pub values: Tensor,
}

/// Sums of patch outputs times their weights, float32, without the padding.
///
/// They are kept in bands of rows. When a row of patches along x is in, the rows
/// of its band that no later row of patches reaches, down to the plane that no
/// later layer reaches, are final and can be taken. So patches that do not
/// overlap hold the bands of one row of patches, and others besides it the planes
/// that two layers share.
#[derive(Debug)]
pub struct Sums {
    bands: Vec<Band>,
    device: Device,
    channels: usize,
}

/// The rows between two places behind which rows of patches are final.
#[derive(Debug)]
struct Band {
    rows: Range<usize>,
    /// First plane that was not taken yet.
    first: usize,
    /// (C, d, rows, W) from plane `first` on; `None` until something is added.
    sums: Option<Tensor>,
}

impl Band {
    fn planes(&self) -> usize {
        self.sums.as_ref().map_or(0, |sums| sums.size()[1] as usize)
    }

    /// A tensor of `depth` planes that begins with the sums there are.
    fn grown(&self, depth: usize, width: usize, channels: usize, device: Device) -> Result<Tensor> {
        let shape = [channels, depth, self.rows.len(), width].map(|length| length as i64);
        let sums = Tensor::f_zeros(shape, (Kind::Float, device))?;
        if let Some(old) = &self.sums {
            sums.f_narrow(1, 0, old.size()[1])?.f_copy_(old)?;
        }
        Ok(sums)
    }
}

impl Sums {
    /// Bytes that sums take at most, but for copies while they grow.
    pub fn bytes(tiling: &Tiling, channels: usize) -> usize {
        let [_, height, width] = tiling.result_size();
        let layers = 0..tiling.axes[0].segments.len();
        let shared = layers
            .map(|z| tiling.planes_reached(z).saturating_sub(tiling.final_before(0, z + 1)))
            .max()
            .unwrap_or(0);
        let rows = shared * height + tiling.patch[0] * tiling.patch[1].min(height);
        4 * channels * rows * width
    }

    pub fn new(tiling: &Tiling, channels: usize, device: Device) -> Self {
        let rows = tiling.axes[1].segments.len();
        let end = |row: usize| tiling.final_before(1, row);
        let bands = (0..rows)
            .map(|row| Band { rows: end(row)..end(row + 1), first: 0, sums: None })
            .collect();
        Sums { bands, device, channels }
    }

    /// Adds planes `planes` (in the patch's coordinates) of the output of
    /// `patch`: values (C, planes, H_patch, W_patch). Layers come in order, and
    /// each row of patches is taken before the next layer begins.
    ///
    /// # Errors
    /// If memory runs out: then nothing was added.
    pub fn add(
        &mut self,
        tiling: &Tiling,
        patch: [usize; 3],
        planes: Range<usize>,
        values: &Tensor,
    ) -> Result<()> {
        let (device, channels) = (self.device, self.channels);
        let [_, _, width] = tiling.result_size();
        let Some([z, y, x]) = tiling.inside(patch, planes.clone()) else { return Ok(()) };
        let source = values
            .f_narrow(1, (z.from - planes.start) as i64, z.length as i64)?
            .f_narrow(2, y.from as i64, y.length as i64)?
            .f_narrow(3, x.from as i64, x.length as i64)?
            .f_to_device(device)?;
        let weights = {
            let along = |axis: usize, part: &Inside| -> Result<Tensor> {
                let segment = &tiling.axes[axis].segments[patch[axis]];
                let first = part.from - segment.keep.start;
                let mut shape = [1; 3];
                shape[axis] = part.length as i64;
                let weights = &segment.weights[first..first + part.length];
                Ok(Tensor::from_slice(weights).f_reshape(shape)?)
            };
            let all = along(0, &z)?.f_mul(&along(1, &y)?)?.f_mul(&along(2, &x)?)?;
            all.f_to_device(device)?
        };
        // Nothing is changed before all that can run out of memory is done.
        let mut targets = Vec::new();
        for band in self.bands.iter_mut() {
            let low = band.rows.start.max(y.to);
            let high = band.rows.end.min(y.to + y.length);
            if low >= high {
                continue;
            }
            let depth = tiling.planes_reached(patch[0]) - band.first;
            if band.planes() < depth {
                band.sums = Some(band.grown(depth, width, channels, device)?);
            }
            if let Some(sums) = &band.sums {
                let rows = (high - low) as i64;
                let target = sums
                    .f_narrow(1, (z.to - band.first) as i64, z.length as i64)?
                    .f_narrow(2, (low - band.rows.start) as i64, rows)?
                    .f_narrow(3, x.to as i64, x.length as i64)?;
                let from = (low - y.to) as i64;
                targets.push((
                    target,
                    source.f_narrow(2, from, rows)?,
                    weights.f_narrow(1, from, rows)?,
                ));
            }
        }
        for (mut target, source, weights) in targets {
            let _ = target.f_addcmul_(&source, &weights)?;
        }
        Ok(())
    }

    /// Takes out what became final with row `row` of the patches of layer
    /// `layer`, unless there is nothing or it was taken before.
    ///
    /// # Errors
    /// If memory runs out: then nothing was taken.
    pub fn take(
        &mut self,
        tiling: &Tiling,
        layer: usize,
        row: usize,
    ) -> Result<Option<FinishedBlock>> {
        let end = tiling.final_before(0, layer + 1);
        let [_, _, width] = tiling.result_size();
        let (device, channels) = (self.device, self.channels);
        let band = &mut self.bands[row];
        if end <= band.first || band.rows.is_empty() {
            return Ok(None);
        }
        let count = end - band.first;
        // Every voxel is covered, so that the planes are there; if they were
        // not, they would be zeros.
        let sums = match &band.sums {
            Some(sums) if band.planes() >= count => sums.shallow_clone(),
            _ => band.grown(count, width, channels, device)?,
        };
        let values = sums.f_narrow(1, 0, count as i64)?;
        let left = sums.size()[1] - count as i64;
        // A copy, so that what is taken does not keep the rest alive for long.
        let rest = match left {
            0 => None,
            _ => {
                let view = sums.f_narrow(1, count as i64, left)?;
                let mut rest = view.f_empty_like()?;
                rest.f_copy_(&view)?;
                Some(rest)
            }
        };
        let block = FinishedBlock { z: band.first, y: band.rows.start, values };
        band.first = end;
        band.sums = rest;
        Ok(Some(block))
    }

    /// Moves the sums to another device.
    pub fn to_device(&mut self, device: Device) -> Result<()> {
        let moved = self
            .bands
            .iter()
            .map(|band| band.sums.as_ref().map(|sums| sums.f_to_device(device)).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        for (band, sums) in self.bands.iter_mut().zip(moved) {
            band.sums = sums;
        }
        self.device = device;
        Ok(())
    }
}
