//! Cross-entropy of class indices, or of class probabilities.

use anyhow::Result;
use tch::{Reduction, Tensor};

use super::index_cross_entropy::index_cross_entropy;
use super::parameters::{CLASS_WEIGHT, IGNORE_INDEX, NAME, SKIP_LAST_TARGET, SQUEEZE_CHANNEL};
use super::{ClassWeights, Criterion, Entry, NO_CLASS, Target, Truth, Weights};

/// The label that torch's `CrossEntropyLoss` ignores when none is named.
pub(super) const TORCH_IGNORES: i64 = -100;

pub(super) static ENTRY: Entry = Entry {
    name: "CrossEntropyLoss",
    meaning: "mean over voxels of -log softmax of the true class, weighted by class",
    parameters: &[NAME, CLASS_WEIGHT, IGNORE_INDEX, SKIP_LAST_TARGET, SQUEEZE_CHANNEL],
    uses_weight: false,
    masks: false,
    ignored_label: Some(TORCH_IGNORES),
    target: Target::ClassesOrProbabilities,
    build: |section| {
        Ok(Box::new(CrossEntropy {
            weight: section.maybe_numbers("weight").map(ClassWeights::new),
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
    fn forward(&self, logits: &Tensor, target: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let weight = self.weight.as_ref().map(|weight| weight.like(logits)).transpose()?;
        if target.dim() == 4 {
            return class_cross_entropy(logits, target, weight.as_ref(), self.ignore);
        }
        Ok(logits.f_cross_entropy_loss(target, weight, Reduction::Mean, self.ignore, 0.0)?)
    }

    fn forward_compact(
        &self,
        logits: &Tensor,
        truth: &Truth,
        _: Option<&Weights>,
    ) -> Result<Tensor> {
        match truth {
            Truth::Dense(target) => self.forward(logits, target, None),
            // One-hot labels are probabilities: the mean is over all voxels.
            Truth::OneHot { index, .. } => {
                let weight = self.weight.as_ref().map(|weight| weight.like(logits)).transpose()?;
                let scale = scale(logits, index, weight.as_ref(), NO_CLASS)?;
                let scale = scale.f_div_scalar(index.numel() as f64)?;
                index_cross_entropy(logits, index, &scale)
            }
        }
    }
}

/// The mean of `-weight · log softmax` of the true class, weighted by the class
/// weights (C), over the voxels of class indices (N, D, H, W) that are not
/// `ignore`. 0 if all are, where torch has NaN: there is nothing to learn.
pub(super) fn class_cross_entropy(
    logits: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
    ignore: i64,
) -> Result<Tensor> {
    let scale = scale(logits, target, weight, ignore)?;
    let total = scale.f_sum(scale.f_kind()?)?.f_clamp_min(f64::from(f32::MIN_POSITIVE))?;
    index_cross_entropy(logits, target, &scale.f_div(&total)?)
}

/// The weight of every voxel's class, 0 where the index is `ignore`.
fn scale(logits: &Tensor, index: &Tensor, weight: Option<&Tensor>, ignore: i64) -> Result<Tensor> {
    let kept = index.f_ne(ignore)?.f_to_kind(logits.f_kind()?)?;
    let Some(weight) = weight else { return Ok(kept) };
    let class = index.f_clamp(0, logits.size()[1] - 1)?;
    Ok(weight.f_take(&class)?.f_mul(&kept)?)
}
