//! Binary cross-entropy of every channel.

use anyhow::Result;
use tch::{Reduction, Tensor};

use crate::config::{ConfigError, Node, Parameter, YamlValue};

use super::parameters::{IGNORE_INDEX, NAME, SKIP_LAST_TARGET, SQUEEZE_CHANNEL};
use super::{ClassWeights, Criterion, Entry, Target};

const POS_WEIGHT: Parameter = Parameter::any(
    "pos_weight",
    "weight of the voxels that are 1 in the target: a number, or a list of one a channel",
);

pub(super) static ENTRY: Entry = Entry {
    name: "BCEWithLogitsLoss",
    meaning: "mean binary cross-entropy of the sigmoid of every channel",
    parameters: &[NAME, POS_WEIGHT, IGNORE_INDEX, SKIP_LAST_TARGET, SQUEEZE_CHANNEL],
    uses_weight: false,
    masks: true,
    ignored_label: None,
    target: Target::LikeLogits { float: true },
    build: |section| {
        Ok(Box::new(BceWithLogits {
            pos_weight: section
                .child("pos_weight")
                .map(numbers)
                .transpose()?
                .map(ClassWeights::new),
        }))
    },
};

/// The numbers of a key that may hold one or a list.
pub(super) fn numbers(node: &Node) -> Result<Vec<f64>, ConfigError> {
    let number = |node: &Node| match node.value {
        YamlValue::Integer(i) if i >= 0 => Some(i as f64),
        YamlValue::Number(x) if x >= 0.0 && x.is_finite() => Some(x),
        _ => None,
    };
    match &node.value {
        YamlValue::List(items) if !items.is_empty() => items.iter().map(number).collect(),
        _ => number(node).map(|x| vec![x]),
    }
    .ok_or_else(|| {
        node.error(format!(
            "a number of at least 0, or a list of one a channel, is wanted, not {}",
            node.value.describe()
        ))
    })
}

/// torch's `BCEWithLogitsLoss`; target (N, C, D, H, W).
pub(super) struct BceWithLogits {
    pub(super) pos_weight: Option<ClassWeights>,
}

impl Criterion for BceWithLogits {
    fn forward(&self, logits: &Tensor, target: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let pos_weight = match &self.pos_weight {
            Some(weight) => Some(weight.like(logits)?.f_view([-1, 1, 1, 1])?),
            None => None,
        };
        let target = target.f_to_kind(logits.f_kind()?)?;
        Ok(logits.f_binary_cross_entropy_with_logits(&target, None, pos_weight, Reduction::Mean)?)
    }
}
