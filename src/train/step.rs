//! One step: forward, loss, backward on one batch or several of each rank, then the
//! optimizer.

use anyhow::{Context, Result};
use tch::{Device, Kind, Tensor};

use crate::augment::stream::{RandomSource as _, StreamKey};
use crate::distributed::Group;
use crate::loss::{Joined, Loss, Totals, Whole};
use crate::metric::Metric;
use crate::model::UNet;

use super::batch::TensorBatch;
use super::learner::Learner;
use super::parts::{Collector, Known, OverRanks};
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
    /// Whether a rank was asked to stop.
    pub stop: bool,
}

/// What is measured of a step without learning from it.
pub struct Measured {
    pub loss: f64,
    /// `None` if there is nothing to score.
    pub score: Option<f64>,
}

/// How a step is divided, and what else travels with its gradients.
pub struct Around<'a> {
    pub group: &'a Group,
    /// Batches of the rank that has most.
    pub rounds: usize,
    /// Whether the logits are needed after the step.
    pub keep_logits: bool,
    /// Whether this rank was asked to stop.
    pub stop: bool,
}

/// The metric of a step on the logits of this rank's batches.
pub fn score_of(
    metric: &Metric,
    net: &UNet,
    (logits, batches): (&[Tensor], &[TensorBatch]),
    group: &Group,
) -> Result<Option<f64>> {
    let mut sums = score_sums(metric, net, logits, batches)?;
    group.sum_numbers(&mut sums)?;
    metric.value(&sums)
}

/// The sums of this rank's batches that the score of a step follows from.
fn score_sums(
    metric: &Metric,
    net: &UNet,
    logits: &[Tensor],
    batches: &[TensorBatch],
) -> Result<Vec<f64>> {
    let mut totals = vec![0.0; metric.length(net.spec().out_channels as usize)];
    for (logits, batch) in logits.iter().zip(batches) {
        let sums = tch::no_grad(|| {
            let probabilities = net.activation().forward(&logits.f_detach()?)?;
            metric.sums(&probabilities, &batch.labels, batch.weights.as_ref())
        })?;
        totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
    }
    Ok(totals)
}

/// Loss and score of a step. The logits of all batches of a rank are in memory at once.
pub fn measure(
    learner: &Learner,
    criteria: &Criteria,
    batches: &[TensorBatch],
    (group, rounds): (&Group, usize),
) -> Result<Measured> {
    let Learner { net, device, .. } = learner;
    tch::no_grad(|| {
        let logits = batches
            .iter()
            .map(|batch| net.forward(&batch.raw, false))
            .collect::<Result<Vec<_>, _>>()?;
        let joined = criteria.loss.joined(net.spec().out_channels as usize);
        let totals = if rounds > 1 {
            let own = |index: usize| Ok(logits[index].shallow_clone());
            let own = collect(&criteria.loss, batches, own)?;
            Some(over_ranks(group, own, &joined, *device)?)
        } else {
            join_nothing(batches, group, &joined, *device)?;
            None
        };
        let mut loss = 0.0;
        for (index, (logits, batch)) in logits.iter().zip(batches).enumerate() {
            let share = share(&criteria.loss, logits, batch, (totals.as_deref(), index), group)?;
            loss += share.f_double_value(&[])?;
        }
        let mut sums = score_sums(&criteria.metric, net, &logits, batches)?;
        sums.push(loss);
        group.sum_numbers(&mut sums)?;
        let loss = sums.pop().unwrap_or(f64::NAN);
        Ok(Measured { loss, score: criteria.metric.value(&sums)? })
    })
}

/// Trains on the batches of a step. A loss that is not finite leaves weights and optimizer
/// as they are; the decision is made on the device, the host need not wait for it.
pub fn train(
    learner: &mut Learner,
    loss: &Loss,
    batches: &[TensorBatch],
    around: &Around<'_>,
    timing: &mut Timing,
) -> Result<TrainingStep> {
    let Around { group, rounds, keep_logits, stop } = *around;
    let joined = loss.joined(learner.net.spec().out_channels as usize);
    let totals = if rounds > 1 {
        let own = first_pass(learner, loss, batches, group)?;
        let totals = over_ranks(group, own, &joined, learner.device)?;
        timing.mark_with_sums(Part::FirstPass, group.spent());
        Some(totals)
    } else {
        join_nothing(batches, group, &joined, learner.device)?;
        None
    };
    let Learner { net, optimizer, .. } = learner;
    let (mut all_logits, mut values) = (Vec::new(), Vec::new());
    let mut gradients: Vec<Tensor> = Vec::new();
    for (index, batch) in batches.iter().enumerate() {
        if totals.is_some() {
            seed_dropout(&learner.progress, index, group);
        }
        let logits = net.forward(&batch.raw, true)?;
        timing.mark(Part::Forward);
        let value = share(loss, &logits, batch, (totals.as_deref(), index), group)?;
        timing.mark_with_sums(Part::Loss, group.spent());
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
    let own = match &values[..] {
        [] => Tensor::f_zeros([0i64; 0], (Kind::Double, learner.device))?,
        [value] => value.shallow_clone(),
        _ => Tensor::f_stack(&values, 0)?.f_sum(None::<Kind>)?,
    };
    if batches.is_empty() {
        gradients = tch::no_grad(|| {
            let zeros = optimizer.parameters().iter().map(Tensor::f_zeros_like);
            zeros.collect::<Result<_, _>>()
        })?;
    }
    let (gradients, loss, stop) = match group.size() {
        1 => (gradients, own, stop),
        _ => exchange(gradients, &own, around, timing)?,
    };
    let skip = loss.f_isfinite()?.f_logical_not()?.f_to_kind(Kind::Float)?;
    optimizer.step(&gradients, Some(&skip))?;
    timing.mark(Part::Optimizer);
    Ok(TrainingStep { logits: all_logits, loss, gradients, stop })
}

/// Sums over all ranks: of gradients and of the loss, and whether any rank was asked to stop.
/// How long each rank took comes along, so that the slowest can be told.
fn exchange(
    mut gradients: Vec<Tensor>,
    loss: &Tensor,
    around: &Around<'_>,
    timing: &mut Timing,
) -> Result<(Vec<Tensor>, Tensor, bool)> {
    let Around { group, stop, .. } = *around;
    let (kind, device) = match gradients.first() {
        Some(gradient) => (gradient.f_kind()?, gradient.device()),
        None => (Kind::Float, loss.device()),
    };
    let mut numbers = vec![0.0; 1 + group.size()];
    numbers[0] = f64::from(u8::from(stop));
    let own = timing.worked(group.spent());
    numbers[1 + group.rank()] = own;
    let numbers = Tensor::f_from_slice(&numbers)?.f_to_kind(kind)?.f_to_device(device)?;
    let loss = loss.f_to_kind(kind)?.f_reshape([1])?.f_to_device(device)?;
    gradients.push(Tensor::f_cat(&[loss, numbers], 0)?);
    let mut sums = group.sum_all(&gradients)?;
    let last = sums.pop().context("a sum is missing")?;
    let numbers: Vec<f64> = Vec::try_from(last.f_to_kind(Kind::Double)?.f_to(Device::Cpu)?)?;
    timing.mark_with_sums(Part::Summing, group.spent());
    timing.met(&numbers[2..], own, group.spent());
    Ok((sums, last.f_get(0)?, numbers[1] > 0.0))
}

/// What batch `index` of this rank adds to the loss of the step, whose totals are known if it
/// has several batches on a rank.
fn share(
    loss: &Loss,
    logits: &Tensor,
    batch: &TensorBatch,
    (totals, index): (Option<&[Tensor]>, usize),
    group: &Group,
) -> Result<Tensor> {
    let mut known = totals.map(|totals| Known::new(totals, index == 0 && group.is_first()));
    let totals: &mut dyn Totals = match &mut known {
        Some(known) => known,
        None if group.size() > 1 => &mut OverRanks(group),
        None => &mut Whole,
    };
    loss.share(logits, &batch.labels, batch.weights.as_ref(), totals)
}

/// The totals over all ranks of what this one has collected, which is nothing if it has no
/// batch.
fn over_ranks(
    group: &Group,
    own: Vec<Tensor>,
    joined: &Joined,
    device: Device,
) -> Result<Vec<Tensor>> {
    match (group.size(), own.is_empty()) {
        (1, _) => Ok(own),
        (_, false) => group.sum_all(&own),
        (_, true) => group.sum_all(&nothing(joined, device)?),
    }
}

/// Joins the sums of the other ranks' batches if this rank has none.
fn join_nothing(
    batches: &[TensorBatch],
    group: &Group,
    joined: &Joined,
    device: Device,
) -> Result<()> {
    if batches.is_empty() {
        for zeros in nothing(joined, device)? {
            let _ = group.sum(&zeros)?;
        }
    }
    Ok(())
}

/// The sums over no voxels.
fn nothing(joined: &Joined, device: Device) -> Result<Vec<Tensor>> {
    let zeros = |&length: &usize| Tensor::f_zeros([length as i64], (Kind::Double, device));
    Ok(joined.lengths.iter().map(zeros).collect::<Result<_, _>>()?)
}

/// The totals of a step's batches in training.
fn first_pass(
    learner: &Learner,
    loss: &Loss,
    batches: &[TensorBatch],
    group: &Group,
) -> Result<Vec<Tensor>> {
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
            seed_dropout(&learner.progress, index, group);
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
fn seed_dropout(progress: &Progress, index: usize, group: &Group) {
    let key = StreamKey {
        seed: progress.seed,
        epoch: progress.iteration,
        sample: (index * group.size() + group.rank()) as u64,
        name: "dropout",
        occurrence: 0,
        data_set: None,
    };
    tch::manual_seed(key.open().index(usize::MAX) as i64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Form;
    use crate::config::Tree;
    use crate::device::Precision;
    use crate::model::NetworkSpec;
    use crate::optim::{OptimizerSpec, Scheduler};
    use crate::target::Labels;
    use crate::train::{LearnerSpec, StepSize};

    const YAML: &str = "
dialect: upstream
model: {name: UNet3D, in_channels: 1, out_channels: 2, f_maps: [4, 8], layer_order: bcrd, dropout_prob: 0.4}
optimizer: {learning_rate: 0.01, weight_decay: 0}
loss: {name: DiceLoss}
";

    /// What is promised of networks with batch norm and dropout: the second pass over a batch
    /// computes what the first one did, and leaves the running statistics of one pass.
    #[test]
    fn both_passes_of_a_step_see_the_same_network() {
        let tree = Tree::parse(YAML, "test.yaml", &[]).unwrap();
        tree.set_dialect(crate::config::Dialect::Upstream);
        let node = |name: &str| tree.root.get(name).unwrap();
        let mut optimizer = OptimizerSpec::read(node("optimizer")).unwrap();
        let spec = LearnerSpec {
            network: NetworkSpec::read(node("model")).unwrap(),
            scheduler: Scheduler::read(None, &mut optimizer).unwrap(),
            optimizer,
            precision: Precision::Fp64,
            memory_format: None,
            long: false,
            seed: Some(1),
            higher_is_better: true,
            form: Form::Upstream,
            step: StepSize { processes: 1, batch_size: 1, accumulate: 2 },
        };
        let learner = Learner::new(spec, Device::Cpu).unwrap();
        let loss = crate::loss::read(node("loss")).unwrap();
        let batch = |seed: f64| {
            let raw = (Tensor::arange(4 * 8 * 8, (Kind::Double, Device::Cpu)) * seed).sin();
            let raw = raw.reshape([1, 1, 4, 8, 8]);
            let labels = Tensor::cat(&[raw.gt(0.3), raw.le(0.3)], 1).to_kind(Kind::Double);
            TensorBatch { raw, labels: Labels::Dense(labels), weights: None }
        };
        let (batches, group) = ([batch(0.3), batch(0.7)], Group::alone());
        let copies = |net: &UNet| net.buffers().iter().map(Tensor::copy).collect::<Vec<_>>();
        let before = copies(&learner.net);
        let first = first_pass(&learner, &loss, &batches, &group).unwrap();
        assert_eq!(copies(&learner.net), before);
        let drawn = |seeded: bool| {
            tch::no_grad(|| {
                collect(&loss, &batches, |index| {
                    if seeded {
                        seed_dropout(&learner.progress, index, &group);
                    }
                    Ok(learner.net.forward(&batches[index].raw, true)?)
                })
            })
            .unwrap()
        };
        assert_eq!(drawn(true), first);
        assert_ne!(drawn(false), first, "dropout is active");
        assert_ne!(copies(&learner.net), before);
    }
}
