//! One batch: forward, loss, backward, optimizer step.

use anyhow::Result;
use tch::{Kind, Tensor};

use crate::loss::Loss;
use crate::metric::Metric;
use crate::model::UNet;

use super::batch::TensorBatch;
use super::learner::Learner;
use super::timing::{Part, Timing};

/// What a training step leaves behind.
pub struct TrainingStep {
    pub logits: Tensor,
    /// Scalar, on the device.
    pub loss: Tensor,
    /// One for each parameter.
    pub gradients: Vec<Tensor>,
}

/// The metric of a batch on its logits.
pub fn score_of(
    metric: &Metric,
    net: &UNet,
    logits: &Tensor,
    batch: &TensorBatch,
) -> Result<Option<f64>> {
    tch::no_grad(|| {
        let probabilities = net.activation().forward(&logits.f_detach()?)?;
        metric.score(&probabilities, &batch.labels, batch.weights.as_ref())
    })
}

/// Trains on a batch. A loss that is not finite leaves weights and optimizer as
/// they are; the decision is made on the device, the host need not wait for it.
pub fn train(
    learner: &mut Learner,
    loss: &Loss,
    batch: &TensorBatch,
    timing: &mut Timing,
) -> Result<TrainingStep> {
    let Learner { net, optimizer, .. } = learner;
    let logits = net.forward(&batch.raw, true)?;
    timing.mark(Part::Forward);
    let value = loss.forward(&logits, &batch.labels, batch.weights.as_ref())?;
    timing.mark(Part::Loss);
    let gradients = Tensor::f_run_backward(&[&value], optimizer.parameters(), false, false)?;
    timing.mark(Part::Backward);
    let loss = value.f_detach()?;
    let skip = loss.f_isfinite()?.f_logical_not()?.f_to_kind(Kind::Float)?;
    optimizer.step(&gradients, Some(&skip))?;
    timing.mark(Part::Optimizer);
    Ok(TrainingStep { logits: logits.f_detach()?, loss, gradients })
}
