//! A network with all that its training changes: made afresh, taken up from a
//! checkpoint, saved as one.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use log::{info, warn};
use tch::Device;

use crate::checkpoint::{Checkpoint, copy_file, strip_prefixes};
use crate::device::Precision;
use crate::model::{MemoryFormat, UNet, from_tensor, to_tensor};
use crate::optim::{Optimizer, Scheduler};

use super::plan::{Beginning, LearnerSpec};
use super::record::{Computation, Progress, RunRecord, optimizer_from_file, optimizer_to_file};
use super::settings::TrainerSpec;

/// A network with everything that an iteration changes.
pub struct Learner {
    pub net: UNet,
    pub optimizer: Optimizer,
    pub scheduler: Scheduler,
    pub progress: Progress,
    pub device: Device,
    pub precision: Precision,
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
        let LearnerSpec { network, optimizer, scheduler, precision, seed, higher_is_better } = spec;
        let seed = seed.unwrap_or_else(rand::random);
        tch::manual_seed(seed as i64);
        let kinds = precision.training();
        let layout = MemoryFormat::for_training(device, kinds);
        let net = UNet::with_layout(&network, kinds, device, layout)?;
        let tensors = net.parameters().into_iter().map(|parameter| parameter.tensor).collect();
        let optimizer = Optimizer::new(optimizer, tensors)?;
        let progress = Progress::start(seed, higher_is_better);
        Ok(Learner { net, optimizer, scheduler, progress, device, precision })
    }

    /// Takes the weights, and with [`Beginning::Resumed`] everything else, from where
    /// the run begins. `seed` is the configuration's, if it has one.
    ///
    /// # Errors
    /// A file that cannot be read, or that is of another network or optimizer.
    pub fn begin(&mut self, beginning: &Beginning, seed: Option<u64>) -> Result<()> {
        match beginning {
            Beginning::Fresh => {}
            Beginning::PreTrained(path) => {
                self.net.load_checkpoint(path)?;
                info!("{}: weights taken over", path.display());
            }
            Beginning::Resumed(path) => {
                let then = self.resume(path, seed)?;
                let iteration = self.progress.iteration;
                info!("{}: going on after iteration {iteration}", path.display());
                let now = self.computation();
                if let Some(then) = then.filter(|then| *then != now) {
                    warn!(
                        "the run was begun with {then} and goes on with {now}: its numbers will \
                         not be the same to the last bit"
                    );
                }
            }
        }
        Ok(())
    }

    /// How it computes.
    pub fn computation(&self) -> Computation {
        Computation {
            threads: i64::from(tch::get_num_threads()),
            precision: format!("{:?}", self.precision),
            layout: format!("{:?}", self.net.layout()),
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
    fn resume(&mut self, path: &Path, seed: Option<u64>) -> Result<Option<Computation>> {
        let mut checkpoint = Checkpoint::read(path)?;
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
        self.resume_optimizer(&checkpoint)
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
        Ok(RunRecord::computation(&checkpoint))
    }

    fn resume_optimizer(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let count = self.optimizer.parameters().len();
        let state = optimizer_from_file(&checkpoint.optimizer, count)?;
        if !state.parameters.is_empty() {
            self.optimizer.restore(&state, checkpoint.num_iterations as i64)?;
        }
        let Some((name, saved)) = RunRecord::scheduler(checkpoint) else { return Ok(()) };
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
    /// it. `config` is the configuration as JSON.
    pub fn save(&self, spec: &TrainerSpec, config: &str, copies: Copies) -> Result<()> {
        let directory = &spec.checkpoint_dir;
        fs::create_dir_all(directory)
            .with_context(|| format!("{}: the directory cannot be made", directory.display()))?;
        let record = RunRecord {
            progress: self.progress.clone(),
            scheduler: self.scheduler.name.to_string(),
            scheduler_state: self.scheduler.state(),
            computation: self.computation(),
            device: self.device,
            config: config.to_string(),
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
            names.push("best_checkpoint.pytorch".to_string());
        }
        if copies.numbered {
            names.push(format!("{}_checkpoint.pytorch", self.progress.iteration));
        }
        names.push("last_checkpoint.pytorch".to_string());
        let paths: Vec<_> = names.iter().map(|name| directory.join(name)).collect();
        checkpoint.write(&paths[0])?;
        for path in &paths[1..] {
            copy_file(&paths[0], path)?;
        }
        Ok(())
    }
}
