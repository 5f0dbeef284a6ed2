//! A network with all that its training changes: made afresh, taken up from a
//! checkpoint, saved as one.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use log::{debug, info, warn};
use tch::Device;

use crate::checkpoint::{Checkpoint, Form, copy_file, strip_prefixes};
use crate::config::ConfigError;
use crate::device::{MemoryFormat, Precision, Purpose, find_not_finite};
use crate::model::{UNet, choose_format, from_tensor, to_tensor};
use crate::optim::{Optimizer, Scheduler, Settings};
use crate::samples::RawSummary;

use super::average::Average;
use super::beginning::Beginning;
use super::directory::{BEST, LAST};
use super::earlier::Configuration;
use super::plan::LearnerSpec;
use super::record::{
    Computation, Progress, RunRecord, StepSize, optimizer_from_file, optimizer_to_file,
};
use super::settings::TrainerSpec;

/// A network with everything that an iteration changes.
pub struct Learner {
    pub net: UNet,
    pub optimizer: Optimizer,
    pub scheduler: Scheduler,
    pub progress: Progress,
    pub device: Device,
    pub precision: Precision,
    /// The order of feature maps in memory that the configuration wants.
    pub asked_format: Option<MemoryFormat>,
    /// Which score of a validation is the better one.
    pub higher_is_better: bool,
    /// Whose keys its checkpoints have.
    pub form: Form,
    /// The samples of a step.
    pub step: StepSize,
    /// What it learns from, for its checkpoints; `None` until the data are opened.
    pub data: Option<RawSummary>,
}

/// What a run that goes on brings along, besides what the learner takes up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heritage {
    /// Folder of TensorBoard's files, below the checkpoint directory; `None` if the
    /// checkpoint does not tell.
    pub logs: Option<String>,
    /// Whether scores cannot be compared with those before, so that the best score
    /// begins anew.
    pub judged_anew: bool,
    /// The steps of the run so far, if another run's checkpoint is gone on from that
    /// tells.
    pub step: Option<StepSize>,
}

impl Heritage {
    /// Compares the steps of the run so far with those that it is to go on with: where an
    /// epoch stands is counted in steps.
    ///
    /// # Errors
    /// Another number of samples.
    pub fn check_step(&self, now: StepSize, spec: &TrainerSpec) -> Result<(), ConfigError> {
        let Some(then) = self.step.filter(|then| then.samples() != now.samples()) else {
            return Ok(());
        };
        Err(spec.error(
            "accumulate",
            format!(
                "the run that is to go on had {} samples in a step ({then}), and now it would have \
                 {} ({now}): choose `--processes`, `loaders.batch_size` and `trainer.accumulate` so \
                 that their product is {} again",
                then.samples(),
                now.samples(),
                then.samples()
            ),
        ))
    }
}

/// Under which names a checkpoint is kept, besides `last_checkpoint.pytorch`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Copies {
    /// As `best_checkpoint.pytorch`.
    pub best: bool,
    /// Under the number of the iteration.
    pub numbered: bool,
}

impl Learner {
    /// A network with fresh weights, drawn from torch's default generator, whose
    /// seed this sets. Data and augmentation are fixed by the same seed.
    pub fn new(spec: LearnerSpec, device: Device) -> Result<Self> {
        let LearnerSpec { network, optimizer, scheduler, precision, .. } = spec;
        let LearnerSpec { seed, higher_is_better, form, step, .. } = spec;
        let seed = seed.unwrap_or_else(rand::random);
        tch::manual_seed(seed as i64);
        let kinds = precision.training();
        let purpose = Purpose::Training;
        let choice =
            choose_format(spec.memory_format, &network, kinds, device, purpose, spec.long)?;
        debug!("{choice}");
        let net = UNet::with_format(&network, kinds, device, choice.format)?;
        let tensors = net.parameters().into_iter().map(|parameter| parameter.tensor).collect();
        let optimizer = Optimizer::new(optimizer, tensors)?;
        let progress = Progress::start(seed, higher_is_better);
        Ok(Learner {
            net,
            optimizer,
            scheduler,
            progress,
            device,
            precision,
            higher_is_better,
            form,
            step,
            asked_format: spec.memory_format,
            data: None,
        })
    }

    /// Takes the weights, and with [`Beginning::Resumed`] everything else, from where
    /// the run begins. `configuration` is the run's, as JSON, and `seed` the one in it,
    /// if there is one.
    ///
    /// # Errors
    /// A file that cannot be read, that is of another network or optimizer, or whose
    /// weights are not finite.
    pub fn begin(
        &mut self,
        beginning: &Beginning,
        configuration: &str,
        seed: Option<u64>,
    ) -> Result<Heritage> {
        match beginning {
            Beginning::Fresh => Ok(Heritage::default()),
            Beginning::PreTrained(path) => {
                self.net.load_checkpoint(path)?;
                self.ensure_finite().with_context(|| path.display().to_string())?;
                info!("{}: weights taken over", path.display());
                Ok(Heritage::default())
            }
            Beginning::Resumed(path) => {
                let (then, heritage) = self.resume(path, configuration, seed)?;
                self.ensure_finite().with_context(|| path.display().to_string())?;
                let iteration = self.progress.iteration;
                info!("{}: going on after iteration {iteration}", path.display());
                let mut now = self.computation();
                if then.as_ref().is_some_and(|then| then.step.is_none()) {
                    // Not told, so nothing to compare.
                    now.step = None;
                }
                if let Some(then) = then.filter(|then| *then != now) {
                    warn!(
                        "the run was begun with {then} and goes on with {now}: its numbers will \
                         not be the same to the last bit"
                    );
                }
                Ok(heritage)
            }
        }
    }

    /// Checks that a step can start from the weights, the network's other numbers and
    /// the optimizer's state.
    ///
    /// # Errors
    /// A number among them that is NaN or infinite; the message names its tensor.
    pub fn ensure_finite(&self) -> Result<()> {
        let state = self.net.state_dict();
        let weights = state.iter().map(|(name, tensor)| (&name[..], tensor));
        if let Some(name) = find_not_finite(weights)? {
            bail!("the network's `{name}` holds numbers that are NaN or infinite");
        }
        let state = self.optimizer.state()?.parameters;
        let tensors = state.iter().flatten().map(|(name, tensor)| (&name[..], tensor));
        if let Some(name) = find_not_finite(tensors)? {
            bail!("the optimizer's `{name}` holds numbers that are NaN or infinite");
        }
        Ok(())
    }

    /// Goes on in another memory format; only the last bits of its numbers change.
    pub fn set_memory_format(&mut self, format: MemoryFormat) -> Result<()> {
        self.net.set_memory_format(format)?;
        self.optimizer.follow_formats()
    }

    /// How it computes.
    pub fn computation(&self) -> Computation {
        Computation {
            step: Some(self.step),
            threads: i64::from(tch::get_num_threads()),
            precision: format!("{:?}", self.precision),
            memory_format: self.net.memory_format(),
        }
    }

    /// Goes on from a checkpoint: takes over its weights, its optimizer's and
    /// scheduler's state, and where its run stood. `seed`, if the configuration has
    /// one, wins over the file's. Gives back how the run computed that wrote the file,
    /// if the file tells.
    ///
    /// The state of another scheduler than this one is left alone.
    ///
    /// # Errors
    /// A file that cannot be read, or that is of another network or optimizer.
    fn resume(
        &mut self,
        path: &Path,
        configuration: &str,
        seed: Option<u64>,
    ) -> Result<(Option<Computation>, Heritage)> {
        let mut checkpoint = Checkpoint::read(path)?;
        let (then, now) = (Configuration::of(&checkpoint), Configuration::parse(configuration));
        let computation = RunRecord::computation(&checkpoint);
        if let (None, Some(then)) = (self.asked_format, &computation)
            && then.memory_format != self.net.memory_format()
        {
            debug!("memory format {}: the checkpoint's", then.memory_format);
            self.set_memory_format(then.memory_format)?;
        }
        strip_prefixes(&mut checkpoint.model_state);
        let tensors = checkpoint
            .model_state
            .iter()
            .map(|(name, data)| Ok((name.clone(), to_tensor(data)?)))
            .collect::<Result<Vec<_>>>()?;
        self.net.load_state_dict(&tensors).with_context(|| {
            format!(
                "{}: the checkpoint is of another network than the `model` section",
                path.display()
            )
        })?;
        drop(tensors);
        // Weights of other networks may have the same shapes.
        let changes = Changes::between(then.as_ref().zip(now.as_ref()));
        if let Some(network) = &changes.network {
            bail!(
                "{}: the checkpoint is of another network than the `model` section: {network}. To \
                 go on, set it back; to begin a run with these weights, name the checkpoint in \
                 `trainer.pre_trained`",
                path.display()
            );
        }
        let fresh = self.progress.best;
        let turned = checkpoint.eval_score_higher_is_better != self.higher_is_better;
        let judged_anew = changes.judge || turned;
        self.resume_optimizer(&checkpoint, then.as_ref(), judged_anew || changes.scheduler_mode)
            .with_context(|| format!("{}: the optimizer's state does not fit", path.display()))?;
        self.progress = match RunRecord::progress(&checkpoint) {
            Some(progress) => Progress { seed: seed.unwrap_or(progress.seed), ..progress },
            None => Progress {
                iteration: checkpoint.num_iterations,
                epoch: checkpoint.epoch,
                best: checkpoint.best_eval_score,
                ..Progress::start(self.progress.seed, true)
            },
        };
        let best = self.progress.best;
        let impossible = !best.is_finite() && best != fresh && !judged_anew;
        if judged_anew && best != fresh {
            warn!(
                "the best score so far, {best}, is of another `eval_metric`, \
                 `eval_score_higher_is_better` or final activation than this run's: the first \
                 validation from here on counts as the best"
            );
        } else if impossible {
            warn!(
                "the best score so far is {best}, which nothing can be compared with: it is forgotten"
            );
        } else if changes.validation_data && best != fresh {
            warn!(
                "the best score so far, {best}, was measured with another `loaders.val` or \
                 `validate_iters`: scores from here on may not compare with it"
            );
        }
        if judged_anew || impossible {
            self.progress.best = fresh;
            self.progress.score = Average::default();
        }
        if changes.loss {
            self.progress.loss = Average::default();
        }
        let step = computation.as_ref().and_then(|computation| computation.step);
        if step.is_none() && self.step.processes * self.step.accumulate > 1 {
            warn!(
                "{}: does not tell how many samples a step had; it now has {} ({})",
                path.display(),
                self.step.samples(),
                self.step
            );
        }
        let heritage = Heritage {
            logs: RunRecord::logs(&checkpoint),
            judged_anew: judged_anew || impossible,
            step,
        };
        Ok((computation, heritage))
    }

    /// `forget_best`: what the scheduler remembers as the best score is of another kind.
    fn resume_optimizer(
        &mut self,
        checkpoint: &Checkpoint,
        then: Option<&Configuration>,
        forget_best: bool,
    ) -> Result<()> {
        let count = self.optimizer.parameters().len();
        let state = optimizer_from_file(&checkpoint.optimizer, count)?;
        let name = self.optimizer.name();
        let written_by = then.and_then(Configuration::optimizer);
        ensure!(
            written_by.is_none_or(|other| other == name)
                && self.optimizer.has_settings(&state.settings),
            "it is {}, and `optimizer.algorithm` is {name}. To go on, set `optimizer.algorithm` \
             back; to begin a run with these weights, name the checkpoint in `trainer.pre_trained`",
            written_by.map_or("another optimizer's".into(), |other| format!("{other}'s"))
        );
        if !state.parameters.is_empty() {
            self.optimizer.restore(&state, checkpoint.num_iterations as i64)?;
        }
        let Some((name, mut saved)) = RunRecord::scheduler(checkpoint) else {
            // Upstream goes on at the learning rate of its file.
            if self.form == Form::Upstream
                && checkpoint.form == Form::Upstream
                && let Some(rate) = state.settings.number("lr")
            {
                self.optimizer.rates.learning_rate = rate;
            }
            return Ok(());
        };
        if let Some(best) = self.scheduler.state().get("best").filter(|_| forget_best) {
            let others = saved.iter().filter(|(name, _)| *name != "best");
            let others = others.map(|(name, value)| (name.to_string(), value));
            saved = others.collect::<Settings>().with("best", best);
        }
        if name != self.scheduler.name || self.scheduler.restore(&saved).is_none() {
            return Ok(());
        }
        // The rate the scheduler had come to; a changed `learning_rate` in the
        // configuration is told apart by the rate the run began with.
        let began = state.settings.number("initial_lr").unwrap_or(self.optimizer.rates.initial);
        if let Some(rate) = state.settings.number("lr")
            && began == self.optimizer.rates.initial
        {
            self.optimizer.rates.learning_rate = rate;
            if self.scheduler.cycles_momentum()
                && let Some(momentum) = self.optimizer.saved_momentum(&state.settings)
            {
                self.optimizer.rates.momentum = Some(momentum);
            }
        }
        Ok(())
    }

    /// Writes `last_checkpoint.pytorch` into the checkpoint directory, and copies of
    /// it. `config` is the configuration as JSON, `logs` the folder of TensorBoard's
    /// files.
    pub fn save(&self, spec: &TrainerSpec, config: &str, logs: &str, copies: Copies) -> Result<()> {
        let directory = &spec.checkpoint_dir;
        fs::create_dir_all(directory)
            .with_context(|| format!("{}: the directory cannot be made", directory.display()))?;
        let record = RunRecord {
            progress: self.progress.clone(),
            scheduler: self.scheduler.name.to_string(),
            scheduler_state: self.scheduler.state(),
            computation: self.computation(),
            device: self.device,
            form: self.form,
            config: config.to_string(),
            logs: logs.to_string(),
            data: self.data,
        };
        let model_state = self
            .net
            .state_dict()
            .iter()
            .map(|(name, tensor)| Ok((name.clone(), from_tensor(tensor)?)))
            .collect::<Result<Vec<_>>>()?;
        let optimizer = optimizer_to_file(&self.optimizer.state()?)?;
        let checkpoint = record.into_checkpoint(spec, model_state, optimizer);
        // The last one comes last: a run that is killed in between does the iteration
        // again, and finds the same best score.
        let mut names = Vec::new();
        if copies.best {
            names.push(BEST.to_string());
        }
        if copies.numbered {
            names.push(format!("{}_checkpoint.pytorch", self.progress.iteration));
        }
        names.push(LAST.to_string());
        let paths: Vec<_> = names.iter().map(|name| directory.join(name)).collect();
        checkpoint.write(&paths[0])?;
        for path in &paths[1..] {
            copy_file(&paths[0], path)?;
        }
        Ok(())
    }
}

/// What a run that goes on does in another way than before.
#[derive(Debug, Default)]
struct Changes {
    /// What of the network, in words.
    network: Option<String>,
    loss: bool,
    /// What scores are scores of.
    judge: bool,
    validation_data: bool,
    scheduler_mode: bool,
}

impl Changes {
    /// From the configuration that a run had to the one that it has now; none if one of
    /// them is not known.
    fn between(both: Option<(&Configuration, &Configuration)>) -> Self {
        let Some((then, now)) = both else { return Changes::default() };
        Changes {
            network: now.network_changes(then),
            loss: then.section("loss") != now.section("loss"),
            judge: then.judge() != now.judge(),
            validation_data: then.measured_on() != now.measured_on(),
            scheduler_mode: then.section("lr_scheduler").get("mode")
                != now.section("lr_scheduler").get("mode"),
        }
    }
}
