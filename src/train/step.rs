//! One step: forward, loss, backward on one batch or several, then the optimizer.

use anyhow::Result;
use tch::{Kind, Tensor};

use crate::augment::stream::{RandomSource as _, StreamKey};
use crate::loss::{Loss, Totals, Whole};
use crate::metric::Metric;
use crate::model::UNet;

use super::batch::TensorBatch;
use super::learner::Learner;
use super::parts::{Collector, Known};
use super::plan::Criteria;
use super::record::Progress;
use super::timing::{Part, Timing};

/// What a training step leaves behind.
pub struct TrainingStep {
    /// Of each batch, if they were to be kept.
    pub logits: Vec<Tensor>,
    /// Scalar, on the device.
    pub loss: Tensor,
    /// One for each parameter.
    pub gradients: Vec<Tensor>,
}

/// What is measured of a step without learning from it.
pub struct Measured {
    pub loss: f64,
    /// `None` if there is nothing to score.
    pub score: Option<f64>,
}

/// The metric of a step on the logits of its batches.
pub fn score_of(
    metric: &Metric,
    net: &UNet,
    logits: &[Tensor],
    batches: &[TensorBatch],
) -> Result<Option<f64>> {
    let mut totals = vec![0.0; metric.length(net.spec().out_channels as usize)];
    for (logits, batch) in logits.iter().zip(batches) {
        let sums = tch::no_grad(|| {
            let probabilities = net.activation().forward(&logits.f_detach()?)?;
            metric.sums(&probabilities, &batch.labels, batch.weights.as_ref())
        })?;
        totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
    }
    metric.value(&totals)
}

/// Loss and score of a step. The logits of all its batches are in memory at once.
pub fn measure(net: &UNet, criteria: &Criteria, batches: &[TensorBatch]) -> Result<Measured> {
    tch::no_grad(|| {
        let logits = batches
            .iter()
            .map(|batch| net.forward(&batch.raw, false))
            .collect::<Result<Vec<_>, _>>()?;
        let totals = match batches {
            [_] => None,
            _ => Some(collect(&criteria.loss, batches, |index| Ok(logits[index].shallow_clone()))?),
        };
        let mut loss = 0.0;
        for (index, (logits, batch)) in logits.iter().zip(batches).enumerate() {
            let share = share(&criteria.loss, logits, batch, (totals.as_deref(), index))?;
            loss += share.f_double_value(&[])?;
        }
        Ok(Measured { loss, score: score_of(&criteria.metric, net, &logits, batches)? })
    })
}

/// Trains on the batches of a step. A loss that is not finite leaves weights and optimizer
/// as they are; the decision is made on the device, the host need not wait for it.
pub fn train(
    learner: &mut Learner,
    loss: &Loss,
    batches: &[TensorBatch],
    keep_logits: bool,
    timing: &mut Timing,
) -> Result<TrainingStep> {
    let totals = match batches {
        [_] => None,
        _ => Some(first_pass(learner, loss, batches)?),
    };
    timing.mark(Part::FirstPass);
    let Learner { net, optimizer, .. } = learner;
    let (mut all_logits, mut values) = (Vec::new(), Vec::new());
    let mut gradients: Vec<Tensor> = Vec::new();
    for (index, batch) in batches.iter().enumerate() {
        if totals.is_some() {
            seed_dropout(&learner.progress, index);
        }
        let logits = net.forward(&batch.raw, true)?;
        timing.mark(Part::Forward);
        let value = share(loss, &logits, batch, (totals.as_deref(), index))?;
        timing.mark(Part::Loss);
        let own = Tensor::f_run_backward(&[&value], optimizer.parameters(), false, false)?;
        if gradients.is_empty() {
            gradients = own;
        } else {
            for (sum, addend) in gradients.iter_mut().zip(&own) {
                let _ = sum.f_add_(addend)?;
            }
        }
        values.push(value.f_detach()?);
        if keep_logits {
            all_logits.push(logits.f_detach()?);
        }
        timing.mark(Part::Backward);
    }
    let loss = match &values[..] {
        [value] => value.shallow_clone(),
        _ => Tensor::f_stack(&values, 0)?.f_sum(None::<Kind>)?,
    };
    let skip = loss.f_isfinite()?.f_logical_not()?.f_to_kind(Kind::Float)?;
    optimizer.step(&gradients, Some(&skip))?;
    timing.mark(Part::Optimizer);
    Ok(TrainingStep { logits: all_logits, loss, gradients })
}

/// What batch `index` adds to the loss of the step, whose totals are known if it has
/// several batches.
fn share(
    loss: &Loss,
    logits: &Tensor,
    batch: &TensorBatch,
    (totals, index): (Option<&[Tensor]>, usize),
) -> Result<Tensor> {
    let mut known = totals.map(|totals| Known::new(totals, index == 0));
    let totals: &mut dyn Totals = match &mut known {
        Some(known) => known,
        None => &mut Whole,
    };
    loss.share(logits, &batch.labels, batch.weights.as_ref(), totals)
}

/// The totals of a step's batches in training.
fn first_pass(learner: &Learner, loss: &Loss, batches: &[TensorBatch]) -> Result<Vec<Tensor>> {
    let net = &learner.net;
    let channels = net.spec().out_channels;
    tch::no_grad(|| {
        if !loss.joined(channels as usize).of_logits {
            // The network need not run: the sums are the same whatever it computes.
            return collect(loss, batches, |index| {
                let raw = &batches[index].raw;
                let kind = if raw.f_kind()? == Kind::Double { Kind::Double } else { Kind::Float };
                let mut size = raw.size();
                size[1] = channels;
                let zero = Tensor::f_zeros([1i64; 5], (kind, raw.device()))?;
                Ok(zero.f_expand(&size[..], false)?)
            });
        }
        // The second pass changes the running statistics of batch norms again.
        let buffers = net.buffers();
        let copy = |tensor: &Tensor| {
            tensor.f_empty_like().and_then(|mut copy| copy.f_copy_(tensor).map(|()| copy))
        };
        let before = buffers.iter().map(copy).collect::<Result<Vec<_>, _>>()?;
        let totals = collect(loss, batches, |index| {
            seed_dropout(&learner.progress, index);
            Ok(net.forward(&batches[index].raw, true)?)
        })?;
        for (mut buffer, before) in buffers.into_iter().zip(before) {
            buffer.f_copy_(&before)?;
        }
        Ok(totals)
    })
}

/// The totals of all batches; `logits` gives those of each.
fn collect(
    loss: &Loss,
    batches: &[TensorBatch],
    logits: impl Fn(usize) -> Result<Tensor>,
) -> Result<Vec<Tensor>> {
    let mut collector = Collector::default();
    for (index, batch) in batches.iter().enumerate() {
        collector.begin();
        let logits = logits(index)?;
        let _ = loss.share(&logits, &batch.labels, batch.weights.as_ref(), &mut collector)?;
    }
    Ok(collector.totals())
}

/// Seeds libtorch's generator, of which dropout draws, so that both passes over a batch
/// draw the same.
fn seed_dropout(progress: &Progress, index: usize) {
    let key = StreamKey {
        seed: progress.seed,
        epoch: progress.iteration,
        sample: index as u64,
        name: "dropout",
        occurrence: 0,
        data_set: None,
    };
    tch::manual_seed(key.open().index(usize::MAX) as i64);
}
