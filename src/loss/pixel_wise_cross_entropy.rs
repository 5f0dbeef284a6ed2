//! Cross-entropy with a weight for every voxel.

use anyhow::{Result, anyhow};
use tch::{Kind, Tensor};

use super::registry::{CLASS_WEIGHT, IGNORE_INDEX, NAME, SKIP_LAST_TARGET, SQUEEZE_CHANNEL};
use super::{ClassWeights, Criterion, Entry, Target};

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
        let weight = weight
            .ok_or_else(|| anyhow!("PixelWiseCrossEntropyLoss was called without a weight map"))?;
        let kind = logits.f_kind()?;
        let logarithms = logits.f_log_softmax(1, kind)?;
        let class_weight = match &self.class_weight {
            Some(weight) => Some(weight.like(logits)?),
            None => None,
        };
        let sum = if target.dim() == 4 {
            let kept = self.ignore.map(|ignore| target.f_ne(ignore)).transpose()?;
            let index = match &kept {
                // An ignored label may lie outside the classes.
                Some(kept) => target.f_mul(&kept.f_to_kind(Kind::Int64)?)?,
                None => target.shallow_clone(),
            };
            let index = index.f_unsqueeze(1)?;
            let mut scale = match weight.dim() {
                4 => weight.f_unsqueeze(1)?,
                _ => weight.f_gather(1, &index, false)?,
            }
            .f_to_kind(kind)?;
            if let Some(class_weight) = class_weight {
                scale = scale.f_mul(&class_weight.f_take(&index)?)?;
            }
            if let Some(kept) = kept {
                scale = scale.f_mul(&kept.f_unsqueeze(1)?.f_to_kind(kind)?)?;
            }
            logarithms.f_gather(1, &index, false)?.f_mul(&scale)?.f_sum(kind)?
        } else {
            let weight = match weight.dim() {
                4 => weight.f_unsqueeze(1)?,
                _ => weight.shallow_clone(),
            };
            let mut scale = target.f_to_kind(kind)?.f_mul(&weight)?;
            if let Some(class_weight) = class_weight {
                scale = scale.f_mul(&class_weight.f_view([1, -1, 1, 1, 1])?)?;
            }
            if let Some(ignore) = self.ignore {
                scale = scale.f_mul(&target.f_ne(ignore)?.f_to_kind(kind)?)?;
            }
            logarithms.f_mul(&scale)?.f_sum(kind)?
        };
        Ok(sum.f_mul_scalar(-1.0 / logits.numel() as f64)?)
    }
}
