//! Cross-entropy of class indices, or of class probabilities.

use anyhow::Result;
use tch::{Reduction, Tensor};

use crate::config::{ConfigError, Node};
use crate::target::{LabelForm, Labels, NO_CLASS, TargetShapes, Weights};

use super::class_weights::{CLASS_WEIGHT, ClassWeights};
use super::softmax_cross_entropy::softmax_cross_entropy;
use super::sum::{VoxelSum, joined_count};
use super::{Criterion, IgnoreIndex, LossEntry, Totals};

/// The label that torch's `CrossEntropyLoss` ignores when none is named.
pub(super) const TORCH_IGNORES: i64 = -100;

pub(super) static ENTRY: LossEntry = LossEntry {
    name: "CrossEntropyLoss",
    meaning: "mean over voxels of -log softmax of the true class, weighted by class",
    parameters: &[CLASS_WEIGHT],
    labels: LabelForm::ClassesOrProbabilities,
    uses_weight: false,
    ignore_index: IgnoreIndex::Own { default: Some(TORCH_IGNORES) },
    build: |section| {
        Ok(Box::new(CrossEntropy {
            weight: ClassWeights::read(section),
            ignore: section.maybe_integer("ignore_index").unwrap_or(TORCH_IGNORES),
        }))
    },
};

/// torch's `CrossEntropyLoss`: for class indices (N, D, H, W) the mean weighted
/// by the weight of each voxel's class, without voxels of the label `ignore`;
/// for probabilities (N, C, D, H, W) the plain mean over voxels.
struct CrossEntropy {
    weight: Option<ClassWeights>,
    ignore: i64,
}

impl Criterion for CrossEntropy {
    fn share(
        &self,
        logits: &Tensor,
        labels: &Labels,
        _: Option<&Weights>,
        totals: &mut dyn Totals,
    ) -> Result<Tensor> {
        let weight = self.weight.as_ref().map(|weight| weight.like(logits)).transpose()?;
        match labels {
            Labels::Dense(labels) if labels.dim() == 4 => {
                let scale = class_scale(logits, labels, weight.as_ref(), self.ignore)?;
                let total = totals.join(scale.f_sum(scale.f_kind()?)?)?;
                mean_cross_entropy(logits, labels, &scale, &total)
            }
            Labels::Dense(labels) => {
                let sum = logits.f_cross_entropy_loss(
                    labels,
                    weight,
                    Reduction::Sum,
                    self.ignore,
                    0.0,
                )?;
                let count = labels.numel() / labels.size()[1] as usize;
                VoxelSum { sum, count }.mean(totals)
            }
            // One-hot labels are probabilities: the mean is over all voxels.
            Labels::OneHot { index, .. } => {
                let scale = class_scale(logits, index, weight.as_ref(), NO_CLASS)?;
                let count = joined_count(index.numel(), &scale, totals)?;
                softmax_cross_entropy(logits, index, &scale.f_div(&count)?)
            }
        }
    }

    fn check(&self, node: &Node, shapes: &TargetShapes<'_>) -> Result<(), ConfigError> {
        self.weight.as_ref().map_or(Ok(()), |weight| weight.check(node, shapes.out_channels))
    }
}

/// This part's share of the mean of `-log softmax` of the true class, weighted by `scale`
/// (N, D, H, W), of [`class_scale`], whose sum over all parts is `total`. 0 if nothing
/// counts, where torch has NaN: there is nothing to learn.
pub(super) fn mean_cross_entropy(
    logits: &Tensor,
    index: &Tensor,
    scale: &Tensor,
    total: &Tensor,
) -> Result<Tensor> {
    // The total comes first, since it does not depend on the logits: then the one
    // pass over them leaves a gradient that need not be divided again.
    let total = total.f_clamp_min(f64::from(f32::MIN_POSITIVE))?;
    softmax_cross_entropy(logits, index, &scale.f_div(&total)?)
}

/// The weight of every voxel's class, 0 where the index is `ignore`.
pub(super) fn class_scale(
    logits: &Tensor,
    index: &Tensor,
    weight: Option<&Tensor>,
    ignore: i64,
) -> Result<Tensor> {
    let kept = index.f_ne(ignore)?.f_to_kind(logits.f_kind()?)?;
    let Some(weight) = weight else { return Ok(kept) };
    let class = index.f_clamp(0, logits.size()[1] - 1)?;
    Ok(weight.f_take(&class)?.f_mul(&kept)?)
}
