//! What all optimizers have in common.

use std::fmt;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use tch::{Device, Kind, TchError, Tensor};

use crate::config::{ConfigError, Entry, Node, Parameter, Section};

use super::optimizers::OPTIMIZERS;
use super::state::{OptimizerState, Rates, Settings};

/// One optimizer: its name, its keys and how to make it.
pub struct OptimizerEntry {
    pub name: &'static str,
    pub meaning: &'static str,
    pub parameters: &'static [Parameter],
    pub build: fn(&Section<'_>) -> Result<Box<dyn Algorithm>, ConfigError>,
}

impl Entry for OptimizerEntry {
    fn name(&self) -> &'static str {
        self.name
    }

    fn meaning(&self) -> &'static str {
        self.meaning
    }

    fn parameters(&self) -> &'static [Parameter] {
        self.parameters
    }
}

/// How an optimizer changes parameters.
pub trait Algorithm: fmt::Debug + Send + Sync {
    /// Momentum at the start, as far as a scheduler can change it.
    fn momentum(&self) -> Option<f64>;

    /// Tensors to keep of a parameter before the first step, under torch's names; the
    /// names and their order are the same for every parameter.
    fn begin(
        &self,
        parameter: &Tensor,
        rates: &Rates,
    ) -> Result<Vec<(&'static str, Tensor)>, TchError>;

    /// One step with a gradient for each parameter, in place.
    fn step(&self, update: Update<'_>) -> Result<(), TchError>;

    /// The settings of a parameter group as torch's optimizer of that name has them,
    /// `initial_lr` included, `params` left out.
    fn settings(&self, rates: &Rates, weight_decay: f64) -> Settings;

    /// The momentum in the settings of a group.
    fn saved_momentum(&self, settings: &Settings) -> Option<f64>;

    /// Whether a file's tensor of that name may be of this optimizer.
    fn knows(&self, name: &str) -> bool;

    /// Whether torch's optimizer of that name stores the number of its steps.
    fn counts_steps(&self) -> bool {
        true
    }

    /// Whether a run can go on from a file that has none of the tensors of
    /// [`Algorithm::begin`].
    fn may_begin_anew(&self) -> bool {
        false
    }
}

/// What an [`Algorithm`] works with in one step. All lists are in the order of the
/// parameters.
pub struct Update<'a> {
    pub parameters: &'a [Tensor],
    pub gradients: &'a [Tensor],
    /// For each name of [`Algorithm::begin`], a tensor of each parameter.
    pub kept: &'a [Vec<Tensor>],
    /// Number of this step, counted from 1, as a float32 scalar tensor.
    pub step: &'a Tensor,
    pub rates: Rates,
    pub weight_decay: f64,
    /// A float32 scalar tensor: 1 leaves everything as it is.
    pub skip: Option<&'a Tensor>,
}

/// The `optimizer` section.
#[derive(Clone, Debug)]
pub struct OptimizerSpec {
    /// Name of the optimizer.
    pub name: &'static str,
    pub algorithm: Arc<dyn Algorithm>,
    pub rates: Rates,
    pub weight_decay: f64,
}

impl OptimizerSpec {
    pub fn read(node: &Node) -> Result<Self, ConfigError> {
        let (entry, section) = OPTIMIZERS.open(node)?;
        let algorithm: Arc<dyn Algorithm> = (entry.build)(&section)?.into();
        let learning_rate = section.number("learning_rate");
        Ok(OptimizerSpec {
            name: entry.name,
            rates: Rates { initial: learning_rate, learning_rate, momentum: algorithm.momentum() },
            weight_decay: section.number("weight_decay"),
            algorithm,
        })
    }
}

/// An optimizer with its parameters and state.
#[derive(Debug)]
pub struct Optimizer {
    spec: OptimizerSpec,
    pub rates: Rates,
    parameters: Vec<Tensor>,
    /// Names of the tensors kept of each parameter.
    names: Vec<&'static str>,
    /// For each name, a tensor of each parameter.
    kept: Vec<Vec<Tensor>>,
    /// Number of steps done, on the parameters' device.
    steps: Tensor,
}

impl Optimizer {
    pub fn new(spec: OptimizerSpec, parameters: Vec<Tensor>) -> Result<Self> {
        ensure!(!parameters.is_empty(), "a network without parameters cannot be trained");
        let rates = spec.rates;
        let (mut names, mut kept) = (Vec::new(), Vec::new());
        for parameter in &parameters {
            let begun = tch::no_grad(|| spec.algorithm.begin(parameter, &rates))?;
            if names.is_empty() {
                names = begun.iter().map(|(name, _)| *name).collect();
                kept.resize_with(names.len(), Vec::new);
            }
            for (list, (_, tensor)) in kept.iter_mut().zip(begun) {
                list.push(tensor);
            }
        }
        let steps = Tensor::f_zeros([0i64; 0], (Kind::Float, parameters[0].device()))?;
        Ok(Optimizer { spec, rates, parameters, names, kept, steps })
    }

    /// One step with a gradient for each parameter, in place. Where `skip` (a
    /// float32 scalar on the same device) is 1, nothing changes: a loss that is
    /// not finite can be kept away from the weights without asking the host.
    pub fn step(&mut self, gradients: &[Tensor], skip: Option<&Tensor>) -> Result<()> {
        let advance = match skip {
            Some(skip) => skip.f_ones_like()?.f_sub(skip)?,
            None => Tensor::f_ones([0i64; 0], (Kind::Float, self.steps.device()))?,
        };
        let _ = self.steps.f_add_(&advance)?;
        Ok(self.spec.algorithm.step(Update {
            parameters: &self.parameters,
            gradients: &self.in_order(gradients)?,
            kept: &self.kept,
            step: &self.steps,
            rates: self.rates,
            weight_decay: self.spec.weight_decay,
            skip,
        })?)
    }

    /// The gradients with their values in the order of their parameters: the
    /// fused steps go through memory, not through indices.
    fn in_order(&self, gradients: &[Tensor]) -> Result<Vec<Tensor>> {
        ensure!(gradients.len() == self.parameters.len(), "one gradient for each parameter");
        let pairs = self.parameters.iter().zip(gradients);
        pairs
            .map(|(parameter, gradient)| {
                if parameter.stride() == gradient.stride() {
                    return Ok(gradient.shallow_clone());
                }
                let mut ordered = tch::no_grad(|| parameter.f_empty_like())?;
                ordered.f_copy_(gradient)?;
                Ok(ordered)
            })
            .collect()
    }

    /// Name of the optimizer.
    pub fn name(&self) -> &'static str {
        self.spec.name
    }

    /// Whether the settings of a saved group can be of this optimizer: they have all
    /// that torch has always stored of it. No settings at all can be of any.
    pub fn has_settings(&self, saved: &Settings) -> bool {
        // Of every optimizer, or of later versions of torch only.
        const SHARED: [&str; 9] = [
            "lr",
            "initial_lr",
            "weight_decay",
            "maximize",
            "foreach",
            "capturable",
            "differentiable",
            "fused",
            "decoupled_weight_decay",
        ];
        let own = self.spec.algorithm.settings(&self.rates, self.spec.weight_decay);
        let mut own = own.iter().filter(|(name, _)| !SHARED.contains(name));
        saved.iter().next().is_none() || own.all(|(name, _)| saved.get(name).is_some())
    }

    pub fn parameters(&self) -> &[Tensor] {
        &self.parameters
    }

    /// Puts the state of parameters whose memory format changed into their format.
    pub fn follow_formats(&mut self) -> Result<()> {
        for list in &mut self.kept {
            for (kept, parameter) in list.iter_mut().zip(&self.parameters) {
                if kept.size() == parameter.size() {
                    let mut moved = parameter.f_detach()?.f_empty_like()?;
                    moved.f_copy_(kept)?;
                    *kept = moved;
                }
            }
        }
        Ok(())
    }

    /// Number of steps done so far.
    pub fn step_count(&self) -> Result<i64> {
        Ok(self.steps.f_double_value(&[])? as i64)
    }

    /// The state in torch's names; its tensors share memory with the optimizer's.
    pub fn state(&self) -> Result<OptimizerState> {
        let steps = self.step_count()?;
        let of = |index: usize| {
            let pairs = self.names.iter().zip(&self.kept);
            pairs.map(|(name, list)| (name.to_string(), list[index].shallow_clone())).collect()
        };
        let count = self.parameters.len();
        let kept = if steps > 0 && !self.names.is_empty() { count } else { 0 };
        Ok(OptimizerState {
            count,
            parameters: (0..kept).map(of).collect(),
            steps: self.spec.algorithm.counts_steps().then_some(steps),
            settings: self.spec.algorithm.settings(&self.rates, self.spec.weight_decay),
        })
    }

    /// Goes on from a saved state. `iterations` stands for the number of steps of an
    /// optimizer that does not count them. The rates stay as they are.
    ///
    /// # Errors
    /// The state of another optimizer, or of parameters of other shapes.
    pub fn restore(&mut self, state: &OptimizerState, iterations: i64) -> Result<()> {
        let algorithm = &self.spec.algorithm;
        let saved = &state.parameters;
        ensure!(
            saved.len() == self.parameters.len(),
            "the state is of {} parameters, the network has {}",
            saved.len(),
            self.parameters.len()
        );
        let foreign = || {
            format!(
                "it is not {}'s; set `optimizer.algorithm` to the one that wrote it",
                self.spec.name
            )
        };
        if saved.iter().flatten().any(|(name, _)| !algorithm.knows(name)) {
            bail!(foreign());
        }
        let whole = |name: &&str| {
            saved.iter().all(|tensors| tensors.iter().any(|(other, _)| other == name))
        };
        if self.names.iter().all(whole) {
            for (name, list) in self.names.iter().zip(&mut self.kept) {
                for (index, (into, tensors)) in list.iter_mut().zip(saved).enumerate() {
                    let Some((_, from)) = tensors.iter().find(|(other, _)| other == name) else {
                        continue;
                    };
                    ensure!(
                        into.size() == from.size(),
                        "the state of parameter {index} is {:?}, the network's is {:?}",
                        from.size(),
                        into.size()
                    );
                    tch::no_grad(|| into.f_copy_(from))?;
                }
            }
        } else if !algorithm.may_begin_anew() {
            bail!(foreign());
        }
        let steps = if algorithm.counts_steps() { state.steps.unwrap_or(0) } else { iterations };
        let device = self.steps.device();
        self.steps = Tensor::f_full([0i64; 0], steps as f64, (Kind::Float, Device::Cpu))?
            .f_to_device(device)?;
        Ok(())
    }

    /// The momentum in the settings of a saved group.
    pub fn saved_momentum(&self, settings: &Settings) -> Option<f64> {
        self.spec.algorithm.saved_momentum(settings)
    }
}
