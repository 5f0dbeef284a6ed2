//! Cross-entropy with a weight for every voxel.

use anyhow::{Context, Result};
use tch::Tensor;

use crate::config::{ConfigError, Node};
use crate::target::{LabelForm, Labels, NO_CLASS, TargetShapes, Weights};

use super::class_weights::{CLASS_WEIGHT, ClassWeights};
use super::softmax_cross_entropy::softmax_cross_entropy;
use super::sum::joined_count;
use super::{Criterion, IgnoreIndex, LossEntry, Totals};

pub(super) static ENTRY: LossEntry = LossEntry {
    name: "PixelWiseCrossEntropyLoss",
    meaning: "mean over voxels and channels of -weight * target * log softmax",
    parameters: &[CLASS_WEIGHT],
    labels: LabelForm::ClassesOrOneHot,
    uses_weight: true,
    ignore_index: IgnoreIndex::Own { default: None },
    build: |section| {
        Ok(Box::new(PixelWiseCrossEntropy {
            class_weight: ClassWeights::read(section),
            ignore: section.maybe_integer("ignore_index"),
        }))
    },
};

/// The mean over N·C·D·H·W of `-weight · class weight · label · log softmax`.
///
/// Labels and weights are class indices (N, D, H, W) or one number a channel
/// (N, C, D, H, W), each on its own. What equals `ignore` in the labels adds
/// nothing but counts in the mean.
struct PixelWiseCrossEntropy {
    class_weight: Option<ClassWeights>,
    ignore: Option<i64>,
}

impl Criterion for PixelWiseCrossEntropy {
    fn share(
        &self,
        logits: &Tensor,
        labels: &Labels,
        weights: Option<&Weights>,
        totals: &mut dyn Totals,
    ) -> Result<Tensor> {
        let weights = weights.context("PixelWiseCrossEntropyLoss was called without weights")?;
        let count = joined_count(logits.numel(), logits, totals)?;
        match labels {
            // Of the ones and zeros of a one-hot label, only the ones add
            // anything; to ignore 1 is to ignore all of them.
            Labels::OneHot { index, .. } => {
                let index = match self.ignore {
                    Some(1) => index.f_full_like(NO_CLASS)?,
                    _ => index.shallow_clone(),
                };
                self.of_classes(logits, &index, Some(NO_CLASS), (weights, &count))
            }
            Labels::Dense(index) if index.dim() == 4 => {
                self.of_classes(logits, index, self.ignore, (weights, &count))
            }
            Labels::Dense(labels) => {
                Ok(self.of_channels(logits, labels, &weights.dense()?)?.f_div(&count)?)
            }
        }
    }

    fn check(&self, node: &Node, shapes: &TargetShapes<'_>) -> Result<(), ConfigError> {
        let weight = self.class_weight.as_ref();
        weight.map_or(Ok(()), |weight| weight.check(node, shapes.out_channels))
    }
}

impl PixelWiseCrossEntropy {
    /// This part's share of the loss of class indices (N, D, H, W), of which all parts
    /// have `count` logits; voxels that are `ignore` add 0.
    fn of_classes(
        &self,
        logits: &Tensor,
        index: &Tensor,
        ignore: Option<i64>,
        (weights, count): (&Weights, &Tensor),
    ) -> Result<Tensor> {
        let kept = ignore.map(|ignore| index.f_ne(ignore)).transpose()?;
        let class = index.f_clamp(0, logits.size()[1] - 1)?;
        let mut scale = weights.of_class(&class)?.f_to_kind(logits.f_kind()?)?;
        if let Some(class_weight) = &self.class_weight {
            scale = scale.f_mul(&class_weight.like(logits)?.f_take(&class)?)?;
        }
        if let Some(kept) = kept {
            scale = scale.f_mul(&kept)?;
        }
        // The number of voxels is known beforehand: dividing the scale by it leaves a
        // gradient that need not be divided again.
        softmax_cross_entropy(logits, index, &scale.f_div(count)?)
    }

    /// The sum over voxels and channels of labels (N, C, D, H, W), with weights of that
    /// shape or (N, D, H, W).
    fn of_channels(&self, logits: &Tensor, labels: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let kind = logits.f_kind()?;
        let weight = match weight.dim() {
            4 => weight.f_unsqueeze(1)?,
            _ => weight.shallow_clone(),
        };
        let mut scale = labels.f_to_kind(kind)?.f_mul(&weight)?;
        if let Some(class_weight) = &self.class_weight {
            scale = scale.f_mul(&class_weight.like(logits)?.f_view([1, -1, 1, 1, 1])?)?;
        }
        if let Some(ignore) = self.ignore {
            scale = scale.f_mul(&labels.f_ne(ignore)?)?;
        }
        let sum = logits.f_log_softmax(1, kind)?.f_mul(&scale)?.f_sum(kind)?;
        Ok(sum.f_neg()?)
    }
}
