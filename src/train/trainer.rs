//! The loop: iterations, and what is due after each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use indicatif::ProgressBar;
use log::{debug, info, warn};
use tch::{Device, Tensor};

use crate::device::{Failure, failure};
use crate::distributed::{self, Group};
use crate::runtime::report::Reporter;
use crate::samples::{Origin, Position, SampleBatch};
use crate::volume::Sample;

use super::average::Average;
use super::batch::TensorBatch;
use super::data::TrainingData;
use super::directory::LAST;
use super::learner::{Copies, Learner};
use super::plan::Criteria;
use super::settings::{OnNan, TrainerSpec};
use super::step::{Around, Measured, TrainingStep, measure, score_of, train};
use super::timing::{Part, Timing};
use super::{dump, images};
use crate::tensorboard::EventWriter;

/// Below this learning rate nothing is learned any more, and the run ends.
pub const LOWEST_LEARNING_RATE: f64 = 1e-6;
/// Off a terminal, a line at least this often.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Iterations,
    Epochs,
    LearningRate,
    /// A signal asked for it.
    Stopped,
}

/// A training run: the network, what it learns from and how it is judged.
pub struct TrainingRun<'a> {
    pub learner: Learner,
    pub criteria: Criteria,
    pub data: TrainingData,
    pub spec: TrainerSpec,
    /// The configuration as JSON, for checkpoints.
    pub configuration: String,
    /// Folder for TensorBoard's files, below the checkpoint directory.
    pub logs: String,
    /// Becomes true when the run is to end after the iteration.
    pub stop: Arc<AtomicBool>,
    /// The ranks that train together.
    pub group: &'a Group,
}

/// The loop of a training run.
pub struct Trainer<'a> {
    run: TrainingRun<'a>,
    events: EventWriter,
    timing: Timing,
    bar: ProgressBar,
    reporter: &'a Reporter,
    /// The previous iteration's loss, still on the device.
    pending: Option<Pending>,
    /// Iteration of the newest checkpoint.
    saved: Option<u64>,
    last_line: Instant,
    /// When the run began, and after which iteration.
    began: (Instant, u64),
    at_work: AtWork,
    /// Whether the last iteration is complete, with the validation that was due after it.
    complete: bool,
    /// Whether this rank, or another, cannot go on.
    failed: bool,
}

/// The batch on the device, for messages.
#[derive(Default)]
struct AtWork {
    /// Patches.
    batch: usize,
    /// Of the raw data of each.
    shape: Vec<usize>,
}

/// The outcome of a validation.
struct Validation {
    /// Mean loss, `None` without samples.
    loss: Option<f64>,
    /// Mean score, `None` if there was nothing to score.
    score: Option<f64>,
    /// What of the first batch was not finite, and which batch that was.
    broken: Option<String>,
}

struct Pending {
    loss: Tensor,
    size: usize,
    iteration: u64,
    origins: Vec<Origin>,
}

impl<'a> Trainer<'a> {
    pub fn new(run: TrainingRun<'a>, reporter: &'a Reporter) -> Self {
        let events = match run.group.is_first() {
            true => EventWriter::open(&run.spec.checkpoint_dir.join(&run.logs)),
            false => EventWriter::nowhere(),
        };
        let per_epoch = run.data.train.batches_per_epoch() as u64;
        let total = run.spec.iters.min(run.spec.epochs.saturating_mul(per_epoch));
        let bar = match run.group.is_first() {
            true => reporter.bar(total, "iterations"),
            false => ProgressBar::hidden(),
        };
        bar.set_length(total);
        let began = run.learner.progress.iteration;
        bar.set_position(began);
        bar.reset_eta();
        let timing = Timing::new(run.learner.device, log::log_enabled!(log::Level::Debug));
        Trainer {
            run,
            events,
            timing,
            bar,
            reporter,
            pending: None,
            saved: None,
            last_line: Instant::now(),
            began: (Instant::now(), began),
            at_work: AtWork::default(),
            complete: true,
            failed: false,
        }
    }

    /// Runs until a limit is reached or a signal comes; leaves a checkpoint of
    /// the last iteration.
    ///
    /// # Errors
    /// Samples that cannot be made: a checkpoint is left as well. A loss that is
    /// not finite, a device out of memory or lost, a checkpoint that cannot be
    /// written: the last checkpoint stays.
    pub fn fit(&mut self) -> Result<Ended> {
        let ended = self.iterate_all().and_then(|ended| {
            self.leave_checkpoint()?;
            Ok(ended)
        });
        let ended = ended.map_err(|error| {
            self.without_rank(&error);
            self.explain(error)
        })?;
        self.events.flush();
        self.bar.finish_and_clear();
        Ok(ended)
    }

    fn leave_checkpoint(&mut self) -> Result<()> {
        match self.saved == Some(self.run.learner.progress.iteration) {
            true => Ok(()),
            false => {
                self.run.group.take_from_first(&self.run.learner.net.buffers())?;
                self.ensure_finite()?;
                self.save(Copies::default())
            }
        }
    }

    /// On rank 0, saves what was learned before another rank failed.
    fn without_rank(&mut self, error: &anyhow::Error) {
        if self.run.group.is_first() && is_of_others(error) && self.keep() {
            info!(
                "what was learned until iteration {} is in {}",
                self.run.learner.progress.iteration,
                self.run.spec.checkpoint_dir.join(LAST).display()
            );
        }
    }

    /// Saves a checkpoint after an error of the samples, and adds to the error where it
    /// is.
    fn without_data(&mut self, error: anyhow::Error) -> anyhow::Error {
        let what = format!(
            "the samples of iteration {} cannot be made",
            self.run.learner.progress.iteration + 1
        );
        // Other ranks wait in the iteration until rank 0 learns of the error, and saves.
        match self.run.group.is_first() && self.keep() {
            true => error.context(format!(
                "{what}; what was learned until then is in {}",
                self.run.spec.checkpoint_dir.join(LAST).display()
            )),
            false if self.run.group.size() > 1 => error.context(what),
            false => error,
        }
    }

    /// Saves the last complete iteration of this run after a failure of the next; gives
    /// whether a checkpoint of it is there. No optimizer has taken a step of the one that
    /// failed.
    fn keep(&mut self) -> bool {
        self.failed = true;
        let iteration = self.run.learner.progress.iteration;
        if !self.complete || iteration == self.began.1 {
            return false;
        }
        let kept = self.settle().and_then(|()| match self.saved == Some(iteration) {
            true => Ok(()),
            false => {
                self.ensure_finite()?;
                self.save(Copies::default())
            }
        });
        match kept {
            Ok(()) => true,
            Err(error) => {
                warn!("{error:#}");
                false
            }
        }
    }

    fn iterate_all(&mut self) -> Result<Ended> {
        let spec = &self.run.spec;
        let (iters, epochs) = (spec.iters, spec.epochs);
        if self.run.learner.progress.iteration >= iters {
            return Ok(Ended::Iterations);
        }
        let from = Position {
            epoch: self.run.learner.progress.epoch,
            batch: self.run.learner.progress.batches as usize,
        };
        let batches = self.run.data.train.run(from, epochs);
        self.timing.forget();
        for batch in batches {
            let stop = match batch {
                Ok(batch) => self.iterate(batch)?,
                Err(error) => return Err(self.without_data(error)),
            };
            if stop {
                self.settle()?;
                return Ok(Ended::Stopped);
            }
            if self.run.learner.progress.iteration >= iters {
                self.settle()?;
                return Ok(Ended::Iterations);
            }
            if self.run.learner.optimizer.rates.learning_rate < LOWEST_LEARNING_RATE {
                self.settle()?;
                return Ok(Ended::LearningRate);
            }
        }
        self.settle()?;
        Ok(Ended::Epochs)
    }

    /// One iteration and what is due after it; gives whether the run is to stop.
    fn iterate(&mut self, batch: SampleBatch) -> Result<bool> {
        self.timing.mark(Part::Data);
        let SampleBatch { position, total, samples, origins, .. } = batch;
        self.at_work = AtWork::of(&samples);
        let batches = self.batches(samples)?;
        let rounds = self.rounds(total);
        let TrainingRun { learner, criteria, spec, group, stop, .. } = &mut self.run;
        let log = (learner.progress.iteration + 1).is_multiple_of(spec.log_after_iters);
        let stop = stop.load(Ordering::Relaxed);
        let around = Around { group, rounds, keep_logits: log, stop };
        let step = train(learner, &criteria.loss, &batches, &around, &mut self.timing)?;
        self.complete = false;
        // The loss of the iteration before is there by now: reading it does not
        // make the device wait. It belongs to its own epoch.
        self.settle()?;
        let progress = &mut self.run.learner.progress;
        if position.epoch != progress.epoch || position.batch == 0 {
            progress.loss = Average::default();
            progress.score = Average::default();
        }
        progress.epoch = position.epoch;
        progress.iteration += 1;
        progress.batches = position.batch as u64 + 1;
        let iteration = progress.iteration;
        self.pending =
            Some(Pending { loss: step.loss.shallow_clone(), size: total, iteration, origins });

        let spec = &self.run.spec;
        let validate = iteration.is_multiple_of(spec.validate_after_iters);
        if validate || log {
            self.settle()?;
        }
        if log && !self.run.spec.skip_train_validation {
            // Before the checkpoint of a validation, which stores the average.
            let TrainingRun { learner, criteria, group, .. } = &mut self.run;
            if let Some(score) =
                score_of(&criteria.metric, &learner.net, (&step.logits, &batches), group)?
            {
                learner.progress.score.add(score, total);
            }
        }
        if validate {
            self.validate()?;
            self.timing.mark(Part::Validation);
        }
        if log {
            self.log(&batches, &step)?;
        }
        self.timing.mark(Part::Logging);
        self.timing.next();
        if log {
            debug!("{}", self.timing.take());
        }
        self.show(iteration);
        self.complete = true;
        // Alone, a signal that came since the step began counts as well.
        Ok(step.stop || self.run.group.size() == 1 && self.run.stop.load(Ordering::Relaxed))
    }

    /// Batches that the rank with most has of `total` samples.
    fn rounds(&self, total: usize) -> usize {
        let TrainingRun { data, group, .. } = &self.run;
        total.div_ceil(data.train.batch_size() * group.size())
    }

    /// Reads the previous iteration's loss from the device and applies `on_nan`.
    fn settle(&mut self) -> Result<()> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let value = pending.loss.f_double_value(&[])?;
        if value.is_finite() {
            self.run.learner.progress.loss.add(value, pending.size);
            return Ok(());
        }
        let name = format!("loss/{}", pending.iteration);
        let message = format!(
            "the loss of iteration {} is {value} ({})",
            pending.iteration,
            self.places(&name, &pending.origins)?
        );
        match self.run.spec.on_nan {
            OnNan::Skip if !self.run.group.is_first() => Ok(()),
            OnNan::Skip => {
                warn!("{message}: the batch is left out");
                Ok(())
            }
            OnNan::Stop => {
                bail!(
                    "{message}. {}. Lower `optimizer.learning_rate`, look at the data named, \
                     or set `trainer.on_nan: skip`",
                    self.last_good()
                )
            }
        }
    }

    /// Checks that the last step left something that can be saved and gone on from.
    ///
    /// # Errors
    /// Weights or a state of the optimizer that are not finite: a loss may be finite
    /// whose gradient is not. The last checkpoint stays.
    fn ensure_finite(&self) -> Result<()> {
        self.run.learner.ensure_finite().with_context(|| {
            format!(
                "after iteration {} the training cannot go on. {}. Lower \
                 `optimizer.learning_rate`, or look at the data and the loss",
                self.run.learner.progress.iteration,
                self.last_good()
            )
        })
    }

    /// Validates, steps the scheduler, saves.
    fn validate(&mut self) -> Result<()> {
        self.run.group.take_from_first(&self.run.learner.net.buffers())?;
        self.ensure_finite()?;
        let iteration = self.run.learner.progress.iteration;
        let Validation { loss, score, broken } = self.evaluate()?;
        if let Some(loss) = loss {
            self.events.scalar("val_loss_avg", loss, iteration);
        }
        if let Some(score) = score {
            self.events.scalar("val_eval_score_avg", score, iteration);
        }
        let shown = |value: Option<f64>| value.map_or("none".into(), |value| format!("{value:.6}"));
        // What cannot be compared is no improvement either way.
        let finite = broken.is_none() && loss.is_none_or(f64::is_finite);
        let judged = score.filter(|score| finite && score.is_finite()).unwrap_or(f64::NAN);
        if let Some(broken) = broken.as_deref().filter(|_| self.run.group.is_first()) {
            warn!(
                "iteration {iteration}: {broken}: whatever the score, this network is not taken \
                 for the best"
            );
        }
        let Learner { scheduler, optimizer, progress, .. } = &mut self.run.learner;
        scheduler.step(judged, &mut optimizer.rates);
        self.events.scalar("learning_rate", optimizer.rates.learning_rate, iteration);
        let best = if self.run.spec.higher_is_better {
            judged > progress.best
        } else {
            judged < progress.best
        };
        if best {
            progress.best = judged;
        }
        info!(
            "iteration {iteration}: validation loss {}, score {}{}",
            shown(loss),
            shown(score),
            if best { ", the best so far" } else { "" }
        );
        self.last_line = Instant::now();
        let numbered = iteration.is_multiple_of(self.run.spec.checkpoint_after_iters);
        self.save(Copies { best, numbered })
    }

    /// Mean loss and score of the validation set.
    fn evaluate(&mut self) -> Result<Validation> {
        let (mut losses, mut scores) = (Average::default(), Average::default());
        let mut broken = None;
        let limit = self.run.spec.validate_iters.map_or(usize::MAX, |limit| limit as usize);
        for batch in self.run.data.val.epoch(0).take(limit) {
            let SampleBatch { total, samples, origins, .. } = batch?;
            self.at_work = AtWork::of(&samples);
            let batches = self.batches(samples)?;
            let TrainingRun { learner, criteria, group, .. } = &self.run;
            let rounds = self.rounds(total);
            let Measured { loss, score } = measure(learner, criteria, &batches, (group, rounds))?;
            losses.add(loss, total);
            if let Some(score) = score {
                scores.add(score, total);
            }
            let what = [("loss", Some(loss)), ("score", score)]
                .into_iter()
                .find_map(|(what, value)| Some((what, value.filter(|value| !value.is_finite())?)));
            if let Some((what, value)) = what.filter(|_| broken.is_none()) {
                let name = format!("validation/{}", self.run.learner.progress.iteration);
                let places = self.places(&name, &origins)?;
                broken = Some(format!("the validation {what} is {value} ({places})"));
            }
        }
        Ok(Validation { loss: losses.value(), score: scores.value(), broken })
    }

    /// Where the samples of a step come from, on all ranks. `name` is used once in a run.
    fn places(&self, name: &str, origins: &[Origin]) -> Result<String> {
        let own = places(origins);
        if self.failed {
            return Ok(own);
        }
        let all = self.run.group.texts(name, &own)?;
        Ok(all.into_iter().filter(|places| !places.is_empty()).collect::<Vec<_>>().join("; "))
    }

    /// The samples of a step as batches on the device.
    fn batches(&self, samples: Vec<Sample>) -> Result<Vec<TensorBatch>> {
        let Learner { device, precision, .. } = &self.run.learner;
        let (size, kind) = (self.run.data.train.batch_size(), precision.training().tensors);
        TensorBatch::several(samples, size, kind, *device)
    }

    /// Writes what TensorBoard shows of the first batch of a step, and the batch if asked.
    fn log(&mut self, batches: &[TensorBatch], step: &TrainingStep) -> Result<()> {
        let (Some(batch), Some(logits)) = (batches.first(), step.logits.first()) else {
            return Ok(());
        };
        if !self.run.group.is_first() {
            return Ok(());
        }
        let TrainingRun { learner: Learner { net, progress, .. }, spec, .. } = &self.run;
        let iteration = progress.iteration;
        if let Some(directory) = &spec.h5_dir
            && let Err(error) = dump::write(directory, iteration, batch)
        {
            warn!("{error:#}");
        }
        if let Some(loss) = progress.loss.value() {
            self.events.scalar("train_loss_avg", loss, iteration);
        }
        if let Some(score) = progress.score.value() {
            self.events.scalar("train_eval_score_avg", score, iteration);
        }
        for (parameter, gradient) in net.parameters().iter().zip(&step.gradients) {
            let values = |tensor: &Tensor| -> Result<Vec<f32>> {
                let flat = tensor.f_detach()?.f_to_kind(tch::Kind::Float)?.f_reshape([-1])?;
                Ok(Vec::try_from(flat.f_to_device(Device::Cpu)?)?)
            };
            self.events.histogram(&parameter.name, values(&parameter.tensor)?, iteration);
            self.events.histogram(
                &format!("{}/grad", parameter.name),
                values(gradient)?,
                iteration,
            );
        }
        let skip = spec.skip_last_target;
        images::log(&self.events, batch, logits, net.activation(), skip, iteration)?;
        if !self.reporter.is_terminal() {
            self.line();
        }
        Ok(())
    }

    fn save(&mut self, copies: Copies) -> Result<()> {
        let TrainingRun { learner, spec, configuration, logs, group, .. } = &self.run;
        if group.is_first() {
            learner
                .save(spec, configuration, logs, copies)
                .context("the checkpoint could not be saved")?;
        }
        self.saved = Some(learner.progress.iteration);
        Ok(())
    }

    /// The state of the run on the bar, or now and then as a line.
    fn show(&mut self, iteration: u64) {
        self.bar.set_position(iteration);
        if let Some(loss) = self.run.learner.progress.loss.value() {
            self.bar.set_message(format!("loss {loss:.4}"));
        }
        if !self.reporter.is_terminal() && self.last_line.elapsed() >= LINE_EVERY {
            self.line();
        }
    }

    fn line(&mut self) {
        let progress = &self.run.learner.progress;
        let total = self.bar.length().unwrap_or(0);
        let loss = progress.loss.value().map_or("none".into(), |loss| format!("{loss:.6}"));
        let score = progress.score.value().map_or(String::new(), |s| format!(", score {s:.6}"));
        let (start, first) = self.began;
        let rate = (progress.iteration - first) as f64 / start.elapsed().as_secs_f64().max(1e-9);
        let left = total.saturating_sub(progress.iteration) as f64 / rate.max(1e-9);
        info!(
            "iteration {}/{total}, epoch {}: training loss {loss}{score}, {rate:.2} iterations/s, {} left",
            progress.iteration,
            progress.epoch,
            indicatif::HumanDuration(Duration::from_secs_f64(left.min(1e9)))
        );
        self.last_line = Instant::now();
    }

    /// Adds to an error what the user can do about it. CUDA's errors may surface
    /// long after their cause, at any call that waits for the device.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let AtWork { batch, shape } = &self.at_work;
        let kind = failure(&error);
        if kind == Failure::Other || is_of_others(&error) {
            return error;
        }
        // What follows is where in libtorch it happened, in many lines.
        let text = format!("{error:#}");
        let error = anyhow!("{}", text.lines().next().unwrap_or_default());
        match (kind, &shape[..]) {
            (Failure::OutOfMemory, &[.., d, h, w]) => {
                let net = self.run.learner.net.spec();
                let bytes = net.activation_bytes([d, h, w]) as f64 * *batch as f64;
                let gib = bytes / (1u64 << 30) as f64;
                error.context(format!(
                    "out of memory with a batch of {batch} patch(es) {shape:?}, whose activations take \
                     about {gib:.1} GiB: reduce `slice_builder.patch_shape`, `loaders.batch_size` or \
                     `model.f_maps`"
                ))
            }
            (Failure::ContextLost, _) => error.context(format!(
                "the GPU gave up; nothing can go on in this run. {}",
                self.last_good()
            )),
            _ => error,
        }
    }

    fn last_good(&self) -> String {
        match self.saved {
            Some(at) => format!(
                "The last good checkpoint is {} of iteration {at}",
                self.run.spec.checkpoint_dir.join(LAST).display()
            ),
            None => "This run has written no checkpoint yet".to_string(),
        }
    }
}

/// Whether the cause of an error is another rank.
fn is_of_others(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<distributed::Failed>())
}

/// Where the samples of a batch come from.
fn places(origins: &[Origin]) -> String {
    origins.iter().map(Origin::to_string).collect::<Vec<_>>().join("; ")
}

impl AtWork {
    fn of(samples: &[Sample]) -> Self {
        let shape = samples.first().map(|sample| sample.raw.shape()).unwrap_or_default();
        AtWork { batch: samples.len(), shape }
    }
}
