//! Cross-entropy with class weights taken from the prediction.

use anyhow::Result;
use tch::{Kind, TchError, Tensor};

use crate::target::{ALL_BUT_CHANNEL, LabelForm, Labels, Weights};

use super::cross_entropy::{TORCH_IGNORES, class_cross_entropy};
use super::{Criterion, IgnoreIndex, LossEntry};

pub(super) static ENTRY: LossEntry = LossEntry {
    name: "WeightedCrossEntropyLoss",
    meaning: "cross-entropy with class weights sum(1-p)/sum(p) of the softmax",
    parameters: &[],
    labels: LabelForm::Classes,
    uses_weight: false,
    ignore_index: IgnoreIndex::Own { default: Some(TORCH_IGNORES) },
    build: |section| {
        Ok(Box::new(WeightedCrossEntropy {
            ignore: section.maybe_integer("ignore_index").unwrap_or(TORCH_IGNORES),
        }))
    },
};

/// Cross-entropy of class indices (N, D, H, W); no gradient flows through the
/// weights (Sudre et al. 2017, arXiv:1707.03237).
struct WeightedCrossEntropy {
    ignore: i64,
}

impl Criterion for WeightedCrossEntropy {
    fn forward(&self, logits: &Tensor, labels: &Labels, _: Option<&Weights>) -> Result<Tensor> {
        let sums = tch::no_grad(|| probability_sums(logits))?;
        let voxels = logits.numel() as f64 / logits.size()[1] as f64;
        // sum(1 - p) is the number of voxels less sum(p).
        let weight = sums.f_rsub_scalar(voxels)?.f_div(&sums)?;
        class_cross_entropy(logits, &labels.dense(Kind::Int64)?, Some(&weight), self.ignore)
    }
}

/// The softmax summed over batch and space, (C).
fn probability_sums(logits: &Tensor) -> Result<Tensor, TchError> {
    let kind = logits.f_kind()?;
    logits.f_softmax(1, kind)?.f_sum_dim_intlist(ALL_BUT_CHANNEL, false, kind)
}
