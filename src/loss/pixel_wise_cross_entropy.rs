//! Cross-entropy with a weight for every voxel.

use anyhow::{Result, anyhow};
use tch::Tensor;

use super::index_cross_entropy::index_cross_entropy;
use super::parameters::{CLASS_WEIGHT, IGNORE_INDEX, NAME, SKIP_LAST_TARGET, SQUEEZE_CHANNEL};
use super::{ClassWeights, Criterion, Entry, NO_CLASS, Target, Truth, Weights};

pub(super) static ENTRY: Entry = Entry {
    name: "PixelWiseCrossEntropyLoss",
    meaning: "mean over voxels and channels of -weight * target * log softmax",
    parameters: &[NAME, CLASS_WEIGHT, IGNORE_INDEX, SKIP_LAST_TARGET, SQUEEZE_CHANNEL],
    uses_weight: true,
    masks: false,
    ignored_label: None,
    target: Target::ClassesOrOneHot,
    build: |section| {
        Ok(Box::new(PixelWiseCrossEntropy {
            class_weight: section.maybe_numbers("weight").map(ClassWeights::new),
            ignore: section.maybe_integer("ignore_index"),
        }))
    },
};

/// The mean over N·C·D·H·W of `-weight · class weight · target · log softmax`.
///
/// Target and weight are class indices (N, D, H, W) or one number a channel
/// (N, C, D, H, W), each on its own. What equals `ignore` in the target adds
/// nothing but counts in the mean.
struct PixelWiseCrossEntropy {
    class_weight: Option<ClassWeights>,
    ignore: Option<i64>,
}

impl Criterion for PixelWiseCrossEntropy {
    fn forward(&self, logits: &Tensor, target: &Tensor, weight: Option<&Tensor>) -> Result<Tensor> {
        let weight = weight.ok_or_else(needs_weight)?;
        if target.dim() == 4 {
            let weight = Weights::Dense(weight.shallow_clone());
            return self.of_classes(logits, target, self.ignore, &weight);
        }
        let kind = logits.f_kind()?;
        let weight = match weight.dim() {
            4 => weight.f_unsqueeze(1)?,
            _ => weight.shallow_clone(),
        };
        let mut scale = target.f_to_kind(kind)?.f_mul(&weight)?;
        if let Some(class_weight) = &self.class_weight {
            scale = scale.f_mul(&class_weight.like(logits)?.f_view([1, -1, 1, 1, 1])?)?;
        }
        if let Some(ignore) = self.ignore {
            scale = scale.f_mul(&target.f_ne(ignore)?)?;
        }
        let sum = logits.f_log_softmax(1, kind)?.f_mul(&scale)?.f_sum(kind)?;
        Ok(sum.f_mul_scalar(-1.0 / logits.numel() as f64)?)
    }

    fn forward_compact(
        &self,
        logits: &Tensor,
        truth: &Truth,
        weights: Option<&Weights>,
    ) -> Result<Tensor> {
        let weights = weights.ok_or_else(needs_weight)?;
        match truth {
            // Of the ones and zeros of a one-hot label, only the ones add
            // anything; to ignore 1 is to ignore all of them.
            Truth::OneHot { index, .. } => {
                let index = match self.ignore {
                    Some(1) => index.f_full_like(NO_CLASS)?,
                    _ => index.shallow_clone(),
                };
                self.of_classes(logits, &index, Some(NO_CLASS), weights)
            }
            Truth::Dense(target) if target.dim() == 4 => {
                self.of_classes(logits, target, self.ignore, weights)
            }
            Truth::Dense(target) => self.forward(logits, target, Some(&weights.dense()?)),
        }
    }
}

fn needs_weight() -> anyhow::Error {
    anyhow!("PixelWiseCrossEntropyLoss was called without a weight map")
}

impl PixelWiseCrossEntropy {
    /// The loss of class indices (N, D, H, W); voxels that are `ignore` add 0.
    fn of_classes(
        &self,
        logits: &Tensor,
        index: &Tensor,
        ignore: Option<i64>,
        weights: &Weights,
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
        let scale = scale.f_div_scalar(logits.numel() as f64)?;
        index_cross_entropy(logits, index, &scale)
    }
}
