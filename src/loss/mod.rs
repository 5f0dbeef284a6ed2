//! Losses, one criterion or one family a file: adding one adds a file here and a line
//! to [`LOSSES`].
//!
//! A [`Criterion`] compares the logits of the network, (N, C, D, H, W), with the
//! labels of the batch and gives the scalar that training makes smaller. [`read`] makes the [`Loss`] of the configuration's `loss` section.
//! [`Loss::check`] tells from shapes alone whether it fits the data and the network,
//! so that a run that cannot work ends before it starts.
//!
//! A batch may come in parts: several batches that one step is made of, on several ranks.
//! A loss first sums over the voxels of its part, joins these sums with those of the other
//! parts ([`Totals`]), and computes its share of the loss from them.

mod bce_dice;
mod bce_with_logits;
mod class_weights;
mod contrastive;
mod cross_entropy;
mod dice;
mod generalized_dice;
mod mean_error;
mod pixel_wise_cross_entropy;
mod preparation;
mod registry;
mod softmax_cross_entropy;
mod sum;
mod totals;
mod upstream;
mod weighted_cross_entropy;
mod weighted_smooth_l1;

pub use registry::{IgnoreIndex, Loss, LossEntry, read};
pub use totals::{Joined, Totals, Whole, with_gradient_of};

use anyhow::Result;
use tch::Tensor;

use crate::config::{ConfigError, Dialects, Node, Parameter, Registry};
use crate::target::{Labels, TargetShapes, Weights};

/// All losses.
pub static LOSSES: Dialects<Registry<LossEntry>> = Dialects {
    fork: Registry {
        refused: &[(
            "TagsAngularLoss",
            "needs a network with several outputs, and there is none here",
        )],
        ..registry(&[
            &bce_with_logits::ENTRY,
            &dice::ENTRY,
            &bce_dice::ENTRY,
            &generalized_dice::ENTRY,
            &cross_entropy::ENTRY,
            &weighted_cross_entropy::ENTRY,
            &pixel_wise_cross_entropy::ENTRY,
            &mean_error::MSE,
            &mean_error::L1,
            &mean_error::SMOOTH_L1,
            &weighted_smooth_l1::ENTRY,
            &contrastive::ENTRY,
        ])
    },
    upstream: registry(&[
        &bce_with_logits::ENTRY,
        &upstream::DICE,
        &upstream::BCE_DICE,
        &upstream::GENERALIZED_DICE,
        &cross_entropy::ENTRY,
        &weighted_cross_entropy::ENTRY,
        &mean_error::MSE,
        &mean_error::L1,
        &mean_error::SMOOTH_L1,
        &weighted_smooth_l1::ENTRY,
    ]),
};

const fn registry(entries: &'static [&'static LossEntry]) -> Registry<LossEntry> {
    let name = Parameter::text("name", "", "which loss to train with").required();
    Registry { kind: "loss", name, entries, shared: SHARED, refused: &[] }
}

/// The keys that all losses take.
const SHARED: &[Parameter] = &[
    Parameter::integer("ignore_index", 0, "label whose voxels do not count").optional(),
    Parameter::flag(
        "skip_last_target",
        false,
        "leaves the last channel of the labels to the metric, such as the instances that \
         `append_label` appends",
    ),
    Parameter::flag(
        "squeeze_channel",
        false,
        "with `skip_last_target`: drops the channel axis when one channel is left",
    ),
];

/// The computation of a loss, with the parameters of its section.
pub trait Criterion: Send {
    /// What this part of a batch adds to its loss, a scalar on the device of `logits`
    /// through which the gradient flows back. `totals` makes the sums of all parts of
    /// those of this one; for a batch in one part, the result is its loss.
    ///
    /// `logits` are (N, C, D, H, W) in float32 or float64; labels and weights are on
    /// the same device, in the form that the loss's entry names. Value and gradient
    /// are the same for compact labels and weights as for the dense arrays that they
    /// stand for; a loss that cannot work on compact forms calls [`Labels::dense`].
    ///
    /// # Errors
    /// Labels outside the classes, missing weights, or a failed tensor operation.
    fn share(
        &self,
        logits: &Tensor,
        labels: &Labels,
        weights: Option<&Weights>,
        totals: &mut dyn Totals,
    ) -> Result<Tensor>;

    /// What [`Criterion::share`] joins, in order, for a network of so many output
    /// channels: the same for every batch, so that a part without samples can join zeros.
    fn joined(&self, _channels: usize) -> Joined {
        Joined::divisor()
    }

    /// Compares the parameters with what network and data set give, such as the
    /// number of class weights with the number of channels. `node` is the section
    /// that they were read from.
    ///
    /// # Errors
    /// Parameters that do not fit; the message says which key to change.
    fn check(&self, _node: &Node, _shapes: &TargetShapes<'_>) -> Result<(), ConfigError> {
        Ok(())
    }
}
