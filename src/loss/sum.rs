//! Mean over voxels in two steps: the sum, then the mean.

use tch::{TchError, Tensor};

/// A sum over voxels, and how many numbers were added.
pub(super) struct VoxelSum {
    /// Scalar, through which the gradient flows.
    pub(super) sum: Tensor,
    pub(super) count: usize,
}

impl VoxelSum {
    /// The mean, a scalar.
    pub(super) fn mean(&self) -> Result<Tensor, TchError> {
        self.sum.f_div_scalar(self.count as f64)
    }
}
