//! Metrics, one a file: what validation is judged by.
//!
//! A [`Metric`] compares the network's probabilities with the labels. [`read`]
//! makes the one of the configuration's `eval_metric` section, [`MeanIoU`] if
//! there is none; [`check`] tells from shapes alone whether it fits.
//!
//! [`MeanIoU`]: https://en.wikipedia.org/wiki/Jaccard_index

mod adapted_rand;
mod average_precision;
mod components;
mod contingency;
mod dice_coefficient;
mod instances;
mod mean_iou;
mod mse;
mod overlap;
mod parameters;
mod pixel_wise_mean_iou;
mod psnr;
mod rand_error;
mod registry;

pub use average_precision::Matching;
pub use components::{Components, components};
pub use contingency::{Contingency, Labels};
pub use rand_error::adapted_rand_error;
pub use registry::{Chosen, Entry, check, entry, names, read};

use anyhow::Result;
use tch::Tensor;

use crate::loss::{Truth, Weights};

/// A score of predictions against labels.
pub trait Metric: Send {
    /// The score of a batch; `None` if the batch has nothing that could be
    /// scored, and should be left out of averages.
    ///
    /// `probabilities` are (N, C, D, H, W), the network's output after its final
    /// activation; `target` is (N, D, H, W) or (N, C, D, H, W), `weight` a map in
    /// either of these shapes. All are on one device.
    fn score(
        &self,
        probabilities: &Tensor,
        target: &Tensor,
        weight: Option<&Tensor>,
    ) -> Result<Option<f64>>;

    /// As [`Metric::score`], with labels and weights in compact forms. A metric
    /// that cannot work on them writes them out.
    fn score_compact(
        &self,
        probabilities: &Tensor,
        truth: &Truth,
        weights: Option<&Weights>,
    ) -> Result<Option<f64>> {
        let target = truth.dense(probabilities.f_kind()?)?;
        let weight = weights.map(Weights::dense).transpose()?;
        self.score(probabilities, &target, weight.as_ref())
    }
}

/// The mean of the scores of a batch's samples, without those that have none.
fn mean_of(scores: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0usize);
    for score in scores.into_iter().flatten() {
        sum += score;
        count += 1;
    }
    (count > 0).then(|| sum / count as f64)
}
