//! Cross-entropy with class weights taken from the prediction.

use anyhow::Result;
use tch::Tensor;

use super::cross_entropy::{TORCH_IGNORES, class_cross_entropy};
use super::parameters::{IGNORE_INDEX, NAME, SKIP_LAST_TARGET, SQUEEZE_CHANNEL};
use super::{ALL_BUT_CHANNEL, Criterion, Entry, Target};

pub(super) static ENTRY: Entry = Entry {
    name: "WeightedCrossEntropyLoss",
    meaning: "cross-entropy with class weights sum(1-p)/sum(p) of the softmax",
    parameters: &[NAME, IGNORE_INDEX, SKIP_LAST_TARGET, SQUEEZE_CHANNEL],
    uses_weight: false,
    masks: false,
    ignored_label: Some(TORCH_IGNORES),
    target: Target::Classes,
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
    fn forward(&self, logits: &Tensor, target: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let kind = logits.f_kind()?;
        let weight = tch::no_grad(|| {
            let sums =
                logits.f_softmax(1, kind)?.f_sum_dim_intlist(ALL_BUT_CHANNEL, false, kind)?;
            let voxels = logits.numel() as f64 / sums.numel() as f64;
            // sum(1 - p) is the number of voxels less sum(p).
            sums.f_rsub_scalar(voxels)?.f_div(&sums)
        })?;
        class_cross_entropy(logits, target, Some(&weight), self.ignore)
    }
}
