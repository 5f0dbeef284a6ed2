//! Mean over voxels in two steps: the sum, then the mean.

use anyhow::Result;
use tch::Tensor;

use super::Totals;

/// A sum over voxels, and how many numbers were added.
pub(super) struct VoxelSum {
    /// Scalar, through which the gradient flows.
    pub(super) sum: Tensor,
    pub(super) count: usize,
}

impl VoxelSum {
    /// This part's share of the mean over all parts, a scalar.
    pub(super) fn mean(&self, totals: &mut dyn Totals) -> Result<Tensor> {
        Ok(self.sum.f_div(&joined_count(self.count, &self.sum, totals)?)?)
    }
}

/// `count` of all parts, a scalar of type and device of `like`.
pub(super) fn joined_count(count: usize, like: &Tensor, totals: &mut dyn Totals) -> Result<Tensor> {
    let size: &[i64] = &[];
    totals.join(Tensor::f_full(size, count as f64, (like.f_kind()?, like.device()))?)
}
