//! One batch: forward, loss, backward, optimizer step.

use anyhow::Result;
use tch::{Kind, Tensor};

use crate::loss::Loss;
use crate::metric::Chosen;
use crate::model::UNet;
use crate::optim::Optimizer;

use super::batch::Batch;
use super::timing::{Part, Timing};

/// What a training step leaves behind.
pub struct Step {
    pub logits: Tensor,
    /// Scalar, on the device.
    pub loss: Tensor,
    /// One for each parameter.
    pub gradients: Vec<Tensor>,
}

/// The loss of a batch, a scalar.
pub fn loss_of(loss: &Loss, logits: &Tensor, batch: &Batch) -> Result<Tensor> {
    let weights = batch.weights.as_ref().filter(|_| loss.entry.uses_weight);
    loss.criterion.forward_compact(logits, &batch.truth, weights)
}

/// The metric of a batch on its logits.
pub fn score_of(
    metric: &Chosen,
    net: &UNet,
    logits: &Tensor,
    batch: &Batch,
) -> Result<Option<f64>> {
    tch::no_grad(|| {
        let probabilities = net.activation().forward(&logits.f_detach()?)?;
        let weights = batch.weights.as_ref().filter(|_| metric.entry.uses_weight);
        metric.metric.score_compact(&probabilities, &batch.truth, weights)
    })
}

/// Trains on a batch. A loss that is not finite leaves weights and optimizer as
/// they are; the decision is made on the device, the host need not wait for it.
pub fn train(
    net: &UNet,
    optimizer: &mut Optimizer,
    loss: &Loss,
    batch: &Batch,
    timing: &mut Timing,
) -> Result<Step> {
    let logits = net.forward(&batch.raw, true)?;
    timing.mark(Part::Forward);
    let value = loss_of(loss, &logits, batch)?;
    timing.mark(Part::Loss);
    let gradients = Tensor::f_run_backward(&[&value], optimizer.parameters(), false, false)?;
    timing.mark(Part::Backward);
    let loss = value.f_detach()?;
    let skip = loss.f_isfinite()?.f_logical_not()?.f_to_kind(Kind::Float)?;
    optimizer.step(&gradients, Some(&skip))?;
    timing.mark(Part::Optimizer);
    Ok(Step { logits: logits.f_detach()?, loss, gradients })
}
