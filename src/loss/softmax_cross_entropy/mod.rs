//! Cross-entropy of one class a voxel, value and gradient in one go.
//!
//! The sum of `-scale · log softmax(x)[class]` has the gradient
//! `scale · (softmax(x) - onehot(class))`. Both are known once the softmax is,
//! so the gradient is computed together with the value, and autograd keeps
//! nothing but it: neither log softmax nor a one-hot copy is ever stored.

mod blocks;

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

use crate::ffi;

/// `Σ_v -scale_v · log softmax(logits)_v[index_v]`, a scalar.
///
/// `logits` are (N, C, D, H, W), `index` int64 and `scale` of the logits' type,
/// both (N, D, H, W). The index may be anything where the scale is 0. The scale
/// gets no gradient.
pub(super) fn softmax_cross_entropy(
    logits: &Tensor,
    index: &Tensor,
    scale: &Tensor,
) -> Result<Tensor> {
    let wants_gradient = logits.requires_grad();
    let (value, gradient) = tch::no_grad(|| {
        let logits = logits.f_detach()?;
        let on_cpu = logits.device() == Device::Cpu && logits.f_kind()? == Kind::Float;
        if on_cpu && blocks::knows(&logits) {
            blocks::run(&logits, index, scale, wants_gradient)
        } else {
            with_tensors(&logits, index, scale, wants_gradient)
        }
    })?;
    match gradient {
        Some(gradient) => Ok(ffi::loss::with_gradient(logits, &value, gradient)?),
        None => Ok(value),
    }
}

/// Any device and type, a few passes over the logits.
fn with_tensors(
    logits: &Tensor,
    index: &Tensor,
    scale: &Tensor,
    wants_gradient: bool,
) -> Result<(Tensor, Option<Tensor>)> {
    let classes = logits.size()[1];
    let counts = scale.f_ne(0)?;
    if logits.device() == Device::Cpu {
        // A GPU would have to be waited for; there the loader has checked.
        let outside = index.f_lt(0)?.f_logical_or(&index.f_ge(classes)?)?.f_logical_and(&counts)?;
        ensure!(
            outside.f_any()?.f_int64_value(&[])? == 0,
            "a label is outside the {classes} classes of the network"
        );
    }
    let index = index.f_clamp(0, classes - 1)?.f_unsqueeze(1)?;
    let scale = scale.f_unsqueeze(1)?;
    let normalizer = logits.f_logsumexp(&[1i64][..], true)?;
    let surprise = normalizer.f_sub(&logits.f_gather(1, &index, false)?)?;
    let value = surprise.f_mul(&scale)?.f_sum(logits.f_kind()?)?;
    if !wants_gradient {
        return Ok((value, None));
    }
    let mut gradient = logits.f_sub(&normalizer)?.f_exp_()?.f_mul_(&scale)?;
    let gradient = gradient.f_scatter_add_(1, &index, &scale.f_neg()?)?;
    Ok((value, Some(gradient)))
}
