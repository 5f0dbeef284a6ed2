//! Metrics, one or one family a file: what validation is judged by. Adding one adds a file
//! here and a line to [`METRICS`].
//!
//! A [`Scorer`] compares the network's probabilities with the labels. [`read`] makes the [`Metric`] of the configuration's `eval_metric`
//! section. [`Metric::check`] tells from shapes alone whether it fits the data and
//! the network.

mod adapted_rand;
mod average_precision;
mod class_overlap;
mod dice_coefficient;
mod direction;
mod label_images;
mod mean_iou;
mod parameters;
mod pixel_wise_mean_iou;
mod rand_error;
mod registry;
mod squared_error;
mod upstream;

pub use average_precision::Matching;
pub use direction::higher_is_better;
pub use rand_error::adapted_rand_error;
pub use registry::{Metric, MetricEntry, read};

use anyhow::Result;
use tch::Tensor;

use crate::config::{ConfigError, Dialects, Node, Parameter, Registry};
use crate::target::{Labels, TargetShapes, Weights};

const SEVERAL_OUTPUTS: &str =
    "needs a network with several outputs or embeddings, and there is none here";

/// All metrics. A configuration that names none is judged by `MeanIoU`.
pub static METRICS: Dialects<Registry<MetricEntry>> = Dialects {
    fork: Registry {
        kind: "metric",
        name: NAME,
        entries: &[
            &adapted_rand::PLAIN,
            &adapted_rand::BOUNDARY,
            &adapted_rand::GENERIC,
            &average_precision::BOUNDARY,
            &average_precision::BLOBS,
            &average_precision::BLOBS_BOUNDARY,
            &dice_coefficient::ENTRY,
            &mean_iou::ENTRY,
            &pixel_wise_mean_iou::ENTRY,
            &squared_error::MSE,
            &squared_error::PSNR,
        ],
        shared: &[],
        refused: &[
            ("WithinAngleThreshold", SEVERAL_OUTPUTS),
            ("InverseAngularError", SEVERAL_OUTPUTS),
            ("EmbeddingsAdaptedRandError", SEVERAL_OUTPUTS),
            ("EmbeddingsMeanShiftAdaptedRandError", SEVERAL_OUTPUTS),
        ],
    },
    upstream: Registry {
        kind: "metric",
        name: NAME.required(),
        entries: &[
            &upstream::PLAIN_RAND,
            &upstream::BOUNDARY_RAND,
            &upstream::GENERIC_RAND,
            &average_precision::UPSTREAM_BOUNDARY,
            &average_precision::BLOBS,
            &average_precision::BLOBS_BOUNDARY,
            &dice_coefficient::ENTRY,
            &upstream::MEAN_IOU,
            &squared_error::MSE,
            &squared_error::PSNR,
        ],
        shared: &[],
        refused: &[],
    },
};

const NAME: Parameter = Parameter::text("name", "MeanIoU", "which metric to judge by");

/// The computation of a metric, with the parameters of its section.
pub trait Scorer: Send {
    /// The sums of a batch, or of a part of one, that its score follows from.
    ///
    /// `probabilities` are (N, C, D, H, W), the network's output after its final
    /// activation; labels and weights are on the same device, in the form that the
    /// metric's entry names. The sums are the same for compact labels and weights as
    /// for the dense arrays that they stand for; a metric that cannot work on compact
    /// forms calls [`Labels::dense`].
    ///
    /// # Errors
    /// Labels out of range, missing weights, or a failed tensor operation.
    fn sums(
        &self,
        probabilities: &Tensor,
        labels: &Labels,
        weights: Option<&Weights>,
    ) -> Result<Vec<f64>>;

    /// The score of a batch from the sums of all its parts, added up; `None` if the batch
    /// has nothing that could be scored, and should be left out of averages. Without a
    /// method of its own, a metric is a mean: the sums are a sum and a number of addends.
    ///
    /// # Errors
    /// A failed tensor operation.
    fn value(&self, sums: &[f64]) -> Result<Option<f64>> {
        Ok(mean(sums))
    }

    /// How many sums there are for a network of so many output channels.
    fn length(&self, _channels: usize) -> usize {
        2
    }

    /// Compares the parameters with what network and data set give, such as a
    /// channel's number with the number of channels. `node` is the section that they
    /// were read from.
    ///
    /// # Errors
    /// Parameters that do not fit; the message says which key to change.
    fn check(&self, _node: &Node, _shapes: &TargetShapes<'_>) -> Result<(), ConfigError> {
        Ok(())
    }
}

/// The sum of the scores of a batch's samples and their number, without those that have
/// none.
fn sums_of(scores: impl IntoIterator<Item = Option<f64>>) -> Vec<f64> {
    let (mut sum, mut count) = (0.0, 0usize);
    for score in scores.into_iter().flatten() {
        sum += score;
        count += 1;
    }
    vec![sum, count as f64]
}

/// The mean whose sum and number of addends `sums` begin with; `None` of nothing.
fn mean(sums: &[f64]) -> Option<f64> {
    match sums {
        [sum, count, ..] if *count > 0.0 => Some(sum / count),
        _ => None,
    }
}

/// The mean of scores, without those that are none.
fn mean_of(scores: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    mean(&sums_of(scores))
}
