//! Embeddings of one instance drawn together, those of different ones apart.

use anyhow::{Result, ensure};
use tch::{Kind, Tensor};

use crate::config::{self, ConfigError, Node, Parameter, YamlValue};
use crate::target::{LabelForm, Labels, Weights};

use super::sum::VoxelSum;
use super::{Criterion, IgnoreIndex, LossEntry, Totals};

pub(super) static ENTRY: LossEntry = LossEntry {
    name: "ContrastiveLoss",
    meaning: "discriminative loss on embeddings of instances: variance, distance and size of \
              cluster means",
    parameters: &[
        Parameter::number("delta_var", 0.5, "radius within which a cluster is not contracted")
            .at_least(0.0)
            .required(),
        Parameter::number("delta_dist", 2.0, "cluster means repel below twice this distance")
            .at_least(0.0)
            .required(),
        Parameter::custom(
            "norm",
            &[
                config::Kind::Choice(&["fro"]),
                config::Kind::Number { min: f64::MIN_POSITIVE, max: f64::MAX },
            ],
            "`fro`, or the p of a p-norm",
        )
        .required(),
        Parameter::number("alpha", 1.0, "factor of the variance term").required(),
        Parameter::number("beta", 1.0, "factor of the distance term").required(),
        Parameter::number("gamma", 0.001, "factor of the size term").required(),
    ],
    labels: LabelForm::Instances,
    uses_weight: false,
    ignore_index: IgnoreIndex::Masked,
    build: |section| {
        let norm = match section.child("norm") {
            Some(node) => norm(node)?,
            None => return Err(section.error("norm", "give `fro`, or the p of a p-norm")),
        };
        Ok(Box::new(Contrastive {
            delta_var: section.number("delta_var"),
            delta_dist: section.number("delta_dist"),
            norm,
            alpha: section.number("alpha"),
            beta: section.number("beta"),
            gamma: section.number("gamma"),
        }))
    },
};

fn norm(node: &Node) -> Result<f64, ConfigError> {
    match &node.value {
        // The Frobenius norm of a vector is its Euclidean norm.
        YamlValue::Text(text) if text == "fro" => Ok(2.0),
        YamlValue::Integer(p) if *p > 0 => Ok(*p as f64),
        YamlValue::Number(p) if *p > 0.0 => Ok(*p),
        other => Err(node.error(format!(
            "`fro` or a positive number is wanted, not {}; most use `fro`",
            other.describe()
        ))),
    }
}

/// The loss of De Brabandere et al. 2017 (arXiv:1708.02551) on embeddings
/// (N, E, D, H, W) and instance labels (N, D, H, W), background being an
/// instance like the others: `alpha · variance + beta · distance + gamma · size`,
/// mean over samples. Each sample has its own instances, of any numbers.
struct Contrastive {
    delta_var: f64,
    delta_dist: f64,
    norm: f64,
    alpha: f64,
    beta: f64,
    gamma: f64,
}

impl Criterion for Contrastive {
    fn share(
        &self,
        logits: &Tensor,
        labels: &Labels,
        _: Option<&Weights>,
        totals: &mut dyn Totals,
    ) -> Result<Tensor> {
        let labels = labels.dense(Kind::Int64)?;
        ensure!(labels.dim() == 4, "ContrastiveLoss wants instance labels (N, D, H, W)");
        let samples = (0..logits.size()[0])
            .map(|n| self.sample(&logits.f_get(n)?, &labels.f_get(n)?))
            .collect::<Result<Vec<_>>>()?;
        let sum = Tensor::f_stack(&samples, 0)?.f_sum(logits.f_kind()?)?;
        VoxelSum { sum, count: samples.len() }.mean(totals)
    }
}

impl Contrastive {
    /// The loss of embeddings (E, D, H, W) and labels (D, H, W).
    fn sample(&self, embeddings: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let kind = embeddings.f_kind()?;
        let embeddings = embeddings.f_flatten(1, -1)?;
        let labels = labels.f_flatten(0, -1)?;
        // Which instance every voxel belongs to, and the size of each.
        let (ids, instance, sizes) = labels.f_internal_unique2(true, true, true)?;
        let count = ids.size()[0];
        let sizes = sizes.f_to_kind(kind)?;
        let per_instance = |values: &Tensor, shape: &[i64]| {
            // `index_add` adds one voxel after the other: in float32, small numbers would
            // get lost in the sums of millions.
            let zeros = Tensor::f_zeros(shape, (Kind::Double, values.device()))?;
            zeros.f_index_add(-1, &instance, &values.f_to_kind(Kind::Double)?)?.f_to_kind(kind)
        };

        let means = per_instance(&embeddings, &[embeddings.size()[0], count])?.f_div(&sizes)?;
        let deviations = embeddings.f_sub(&means.f_index_select(1, &instance)?)?;
        let deviations = deviations.f_norm_scalaropt_dim(self.norm, &[0i64][..], false)?;
        let excess = deviations.f_sub_scalar(self.delta_var)?.f_clamp_min(0.0)?.f_square()?;
        let variance = per_instance(&excess, &[count])?.f_div(&sizes)?.f_mean(kind)?;

        let size = means.f_norm_scalaropt_dim(self.norm, &[0i64][..], false)?.f_mean(kind)?;
        let mut loss = variance.f_mul_scalar(self.alpha)?.f_add(&size.f_mul_scalar(self.gamma)?)?;
        if count > 1 {
            let pairs = means.f_unsqueeze(2)?.f_sub(&means.f_unsqueeze(1)?)?;
            let apart = pairs.f_norm_scalaropt_dim(self.norm, &[0i64][..], false)?;
            let options = (Kind::Float, apart.device());
            let others = Tensor::f_eye(count, options)?.f_logical_not()?.f_to_kind(kind)?;
            let near = apart.f_rsub_scalar(2.0 * self.delta_dist)?.f_clamp_min(0.0)?.f_square()?;
            let distance = near.f_mul(&others)?.f_sum(kind)?;
            let pairs = (count * (count - 1)) as f64;
            loss = loss.f_add(&distance.f_mul_scalar(self.beta / pairs)?)?;
        }
        Ok(loss)
    }
}
