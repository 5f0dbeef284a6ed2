//! Cross-entropy with class weights taken from the prediction.

use anyhow::Result;
use tch::{Kind, Tensor};

use crate::target::{ALL_BUT_CHANNEL, LabelForm, Labels, Weights};

use super::cross_entropy::{TORCH_IGNORES, class_scale, mean_cross_entropy};
use super::{Criterion, IgnoreIndex, Joined, LossEntry, Totals};

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
    fn share(
        &self,
        logits: &Tensor,
        labels: &Labels,
        _: Option<&Weights>,
        totals: &mut dyn Totals,
    ) -> Result<Tensor> {
        let index = labels.dense(Kind::Int64)?.f_to_kind(Kind::Int64)?;
        let channels = logits.size()[1];
        let all = totals.join(tch::no_grad(|| self.sums(logits, &index))?)?;
        let part = |start: i64, length: i64| all.f_narrow(0, start, length);
        let (sums, counts) = (part(0, channels)?, part(channels, channels)?);
        // sum(1 - p) is the number of voxels less sum(p).
        let weight = part(2 * channels, 1)?.f_sub(&sums)?.f_div(&sums)?;
        // A class that no voxel has adds nothing, whatever its weight.
        let present = counts.f_gt(0)?;
        let total = weight.f_where_self(&present, &weight.f_zeros_like()?)?.f_mul(&counts)?;
        let total = total.f_sum(total.f_kind()?)?;
        let scale = class_scale(logits, &index, Some(&weight), self.ignore)?;
        mean_cross_entropy(logits, &index, &scale, &total)
    }

    fn joined(&self, channels: usize) -> Joined {
        // Two sums of each channel, and the number of voxels.
        Joined::sums(2 * channels + 1)
    }
}

impl WeightedCrossEntropy {
    /// The softmax summed over batch and space (C), the voxels that count of each class
    /// (C), and all voxels (1), one after the other.
    fn sums(&self, logits: &Tensor, index: &Tensor) -> Result<Tensor> {
        let (kind, channels) = (logits.f_kind()?, logits.size()[1]);
        let sums = logits.f_softmax(1, kind)?.f_sum_dim_intlist(ALL_BUT_CHANNEL, false, kind)?;
        let outside = index.f_lt(0)?.f_logical_or(&index.f_ge(channels)?)?;
        let hidden = outside.f_logical_or(&index.f_eq(self.ignore)?)?;
        let class = index.f_masked_fill(&hidden, channels)?.f_flatten(0, -1)?;
        let counts = class.f_bincount(None::<Tensor>, channels + 1)?.f_narrow(0, 0, channels)?;
        let voxels = Tensor::f_full([1], index.numel() as f64, (kind, logits.device()))?;
        Ok(Tensor::f_cat(&[sums, counts.f_to_kind(kind)?, voxels], 0)?)
    }
}
