//! Losses, one criterion a file.
//!
//! A [`Criterion`] compares the logits of the network, (N, C, D, H, W), with the
//! labels of the batch and gives the scalar that training makes smaller.
//! [`read`] makes the criterion of the configuration's `loss` section; [`check`]
//! tells from shapes alone whether it fits the data and the network, so that a
//! run that cannot work ends before it starts.

mod bce_dice;
mod bce_with_logits;
mod class_weights;
mod contrastive;
mod cross_entropy;
mod dice;
mod generalized_dice;
mod index_cross_entropy;
mod kernel;
mod l1;
mod masked;
mod mse;
mod parameters;
mod pixel_wise_cross_entropy;
mod registry;
mod shapes;
mod smooth_l1;
mod truth;
mod weighted_cross_entropy;
mod weighted_smooth_l1;

pub use class_weights::ClassWeights;
pub use dice::{Sums, dice_per_channel};
pub use registry::{Entry, Loss, check, entry, names, read};
pub use shapes::{LabelRange, Shapes, Target};
pub(crate) use shapes::{check_target, check_weight};
pub use truth::{NO_CLASS, Truth, Weights};

use anyhow::Result;
use tch::Tensor;

/// A loss.
pub trait Criterion: Send {
    /// The loss of a batch, a scalar on the device of `logits` through which the
    /// gradient flows back.
    ///
    /// `logits` are (N, C, D, H, W) in float32 or float64, `target` is
    /// (N, D, H, W) or (N, C, D, H, W) as the loss wants it, `weight` a map with
    /// one number a voxel in either of these shapes. All are on one device.
    fn forward(&self, logits: &Tensor, target: &Tensor, weight: Option<&Tensor>) -> Result<Tensor>;

    /// As [`Criterion::forward`], with labels and weights in compact forms: the
    /// same value and gradient as on the dense arrays that they stand for. A
    /// loss that cannot work on them writes them out.
    fn forward_compact(
        &self,
        logits: &Tensor,
        truth: &Truth,
        weights: Option<&Weights>,
    ) -> Result<Tensor> {
        let target = truth.dense(logits.f_kind()?)?;
        let weight = weights.map(Weights::dense).transpose()?;
        self.forward(logits, &target, weight.as_ref())
    }
}

/// Spatial axes and batch of (N, C, D, H, W): what a sum per channel runs over.
pub(crate) const ALL_BUT_CHANNEL: &[i64] = &[0, 2, 3, 4];
