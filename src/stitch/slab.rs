//! A stack of planes in which patch outputs are summed.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use super::plan::Plan;

/// Running sums for the planes that patches still reach, (C, d, H, W), float32.
/// Padding is cut as patches are added, so that planes hold the result's rows.
#[derive(Debug)]
pub struct Slab {
    sums: Tensor,
    /// First plane held, in the result's coordinates.
    first: usize,
    channels: i64,
}

impl Slab {
    pub fn new(plan: &Plan, channels: usize, device: Device) -> Result<Self> {
        let size = plan.result_size();
        let depth = plan.patch[0].min(size[0]) as i64;
        let shape = [channels as i64, depth, size[1] as i64, size[2] as i64];
        let sums = Tensor::f_zeros(shape, (Kind::Float, device))?;
        Ok(Slab { sums, first: 0, channels: channels as i64 })
    }

    /// Adds planes `planes` (in the patch's coordinates) of the output of
    /// `patch`: values (C, planes, H_patch, W_patch) on the slab's device.
    pub fn add(
        &mut self,
        plan: &Plan,
        patch: [usize; 3],
        planes: std::ops::Range<usize>,
        values: &Tensor,
    ) -> Result<()> {
        let device = self.sums.device();
        let result = plan.result_size();
        let mut target = self.sums.shallow_clone();
        let mut source = values.shallow_clone();
        let mut weights: Option<Tensor> = None;
        for axis in 0..3 {
            let segment = &plan.axes[axis].segments[patch[axis]];
            let padding = plan.padding[axis];
            // From kept voxels of the patch to those inside the result.
            let mut low = segment.keep.start.max(padding.saturating_sub(segment.start));
            let mut high =
                segment.keep.end.min((padding + result[axis]).saturating_sub(segment.start));
            let mut origin = 0;
            if axis == 0 {
                low = low.max(planes.start);
                high = high.min(planes.end);
                origin = planes.start;
            }
            if high <= low {
                return Ok(());
            }
            let length = (high - low) as i64;
            let dimension = 1 + axis as i64;
            let mut to = segment.start + low - padding;
            if axis == 0 {
                to -= self.first;
            }
            target = target.f_narrow(dimension, to as i64, length)?;
            source = source.f_narrow(dimension, (low - origin) as i64, length)?;
            let along = &segment.weights[low - segment.keep.start..high - segment.keep.start];
            let mut shape = [1i64; 3];
            shape[axis] = length;
            let along = Tensor::from_slice(along).f_reshape(shape)?;
            weights = Some(match weights {
                None => along,
                Some(weights) => weights.f_mul(&along)?,
            });
        }
        if let Some(weights) = weights {
            let (source, weights) = (source.f_to_device(device)?, weights.f_to_device(device)?);
            let _ = target.f_addcmul_(&source, &weights)?;
        }
        Ok(())
    }

    /// Moves the sums to another device.
    pub fn to_device(&mut self, device: Device) -> Result<()> {
        self.sums = self.sums.f_to_device(device)?;
        Ok(())
    }

    /// Takes the planes before `end` (in the padded volume's coordinates) out:
    /// they are final. Returns their first plane in the result and the values
    /// (C, d, H, W), or nothing if there is none.
    pub fn take_until(&mut self, plan: &Plan, end: usize) -> Result<Option<(usize, Tensor)>> {
        let result = plan.result_size();
        let end = end.saturating_sub(plan.padding[0]).min(result[0]);
        if end <= self.first {
            return Ok(None);
        }
        let count = (end - self.first) as i64;
        let held = self.sums.size()[1];
        let done = self.sums.f_narrow(1, 0, count.min(held))?;
        let first = self.first;
        self.first = end;
        let depth = (plan.patch[0].min(result[0] - end)) as i64;
        let shape = [self.channels, depth, result[1] as i64, result[2] as i64];
        let next = Tensor::f_zeros(shape, (Kind::Float, self.sums.device()))?;
        let left = (held - count).min(depth);
        if left > 0 {
            next.f_narrow(1, 0, left)?.f_copy_(&self.sums.f_narrow(1, count, left)?)?;
        }
        // `done` keeps the old planes alive until they are written.
        self.sums = next;
        Ok(Some((first, done)))
    }
}
