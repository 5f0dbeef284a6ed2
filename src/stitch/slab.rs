//! A stack of planes in which patch outputs are summed.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use super::plan::Plan;

/// Running sums for the planes that patches still reach, (C, d, H, W), float32.
/// Padding is cut as patches are added, so that planes hold the result's rows.
#[derive(Debug)]
pub struct Slab {
    /// `None` until something is added: the planes taken before are still being
    /// written, and holding both is what takes most memory.
    sums: Option<Tensor>,
    device: Device,
    /// First plane held, in the result's coordinates.
    first: usize,
    channels: usize,
}

impl Slab {
    pub fn new(channels: usize, device: Device) -> Self {
        Slab { sums: None, device, first: 0, channels }
    }

    /// Zeros for all planes that a patch beginning at plane `first` can reach.
    fn zeros(&self, plan: &Plan, first: usize) -> Result<Tensor> {
        let [depth, height, width] = plan.result_size();
        let depth = plan.patch[0].min(depth - first);
        let shape = [self.channels, depth, height, width].map(|length| length as i64);
        Ok(Tensor::f_zeros(shape, (Kind::Float, self.device))?)
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
        let device = self.device;
        let result = plan.result_size();
        let sums = match &self.sums {
            Some(sums) => sums.shallow_clone(),
            None => self.zeros(plan, self.first)?,
        };
        let mut target = sums.shallow_clone();
        self.sums = Some(sums);
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
        self.device = device;
        self.sums = self.sums.take().map(|sums| sums.f_to_device(device)).transpose()?;
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
        let sums = match &self.sums {
            Some(sums) => sums.shallow_clone(),
            // Planes that only patches without any kept voxel reach do not exist:
            // every voxel is covered.
            None => self.zeros(plan, self.first)?,
        };
        let count = (end - self.first) as i64;
        let held = sums.size()[1];
        let first = self.first;
        // Nothing is changed before all that can run out of memory is done.
        let next = if count < held {
            let next = self.zeros(plan, end)?;
            let left = (held - count).min(next.size()[1]);
            next.f_narrow(1, 0, left)?.f_copy_(&sums.f_narrow(1, count, left)?)?;
            Some(next)
        } else {
            None
        };
        let done = sums.f_narrow(1, 0, count.min(held))?;
        self.first = end;
        self.sums = next;
        Ok(Some((first, done)))
    }
}
