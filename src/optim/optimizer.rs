//! Adam and SGD over the parameters of a network.

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

use crate::config::{ConfigError, Node, Parameter};
use crate::ffi::tensor::{AdamStep, SgdStep, fused_adam, fused_sgd};

/// The keys of the `optimizer` section.
pub const OPTIMIZER: &[Parameter] = &[
    Parameter::choice("algorithm", "Adam", &["Adam", "SGD"], "the optimizer"),
    Parameter::number("learning_rate", 0.0, "the learning rate at the start")
        .at_least(0.0)
        .required(),
    Parameter::number("weight_decay", 0.0, "L2 penalty, added to the gradient")
        .at_least(0.0)
        .required(),
    Parameter::number("momentum", 0.0, "SGD's momentum, required with SGD")
        .at_least(0.0)
        .optional(),
    Parameter::numbers("betas", &[0.9, 0.999], "Adam's decay of first and second moments")
        .within(0.0, 1.0)
        .of_length(2),
];

/// Which optimizer, and what it adds to the learning rate and weight decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Algorithm {
    /// [Kingma & Ba 2015](https://arxiv.org/abs/1412.6980), torch's eps 1e-8.
    Adam {
        betas: (f64, f64),
    },
    Sgd {
        momentum: f64,
    },
}

/// Adam's epsilon, torch's default.
pub const EPSILON: f64 = 1e-8;

/// The `optimizer` section.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptimizerSpec {
    pub algorithm: Algorithm,
    pub learning_rate: f64,
    pub weight_decay: f64,
}

impl OptimizerSpec {
    pub fn read(node: &Node) -> Result<Self, ConfigError> {
        let section = node.section(OPTIMIZER)?;
        let algorithm = match section.text("algorithm") {
            "SGD" => {
                let momentum = section.maybe_number("momentum").ok_or_else(|| {
                    section.error("momentum", "SGD needs a momentum; write 0 for none")
                })?;
                Algorithm::Sgd { momentum }
            }
            _ => {
                let betas = section.numbers("betas");
                if betas.iter().any(|beta| *beta >= 1.0) {
                    return Err(section.error("betas", "both must be below 1"));
                }
                Algorithm::Adam { betas: (betas[0], betas[1]) }
            }
        };
        Ok(OptimizerSpec {
            algorithm,
            learning_rate: section.number("learning_rate"),
            weight_decay: section.number("weight_decay"),
        })
    }
}

/// What the optimizer remembers of each parameter.
#[derive(Debug)]
pub enum Moments {
    Adam { first: Vec<Tensor>, second: Vec<Tensor> },
    Sgd { buffers: Vec<Tensor> },
}

/// An optimizer and its state.
#[derive(Debug)]
pub struct Optimizer {
    parameters: Vec<Tensor>,
    moments: Moments,
    /// Steps done, on the parameters' device.
    steps: Tensor,
    pub spec: OptimizerSpec,
}

impl Optimizer {
    pub fn new(spec: OptimizerSpec, parameters: Vec<Tensor>) -> Result<Self> {
        ensure!(!parameters.is_empty(), "a network without parameters cannot be trained");
        let zeros = || -> Result<Vec<Tensor>> {
            Ok(parameters
                .iter()
                .map(|p| tch::no_grad(|| p.f_zeros_like()))
                .collect::<Result<_, _>>()?)
        };
        let moments = match spec.algorithm {
            Algorithm::Adam { .. } => Moments::Adam { first: zeros()?, second: zeros()? },
            Algorithm::Sgd { momentum: 0.0 } => Moments::Sgd { buffers: Vec::new() },
            Algorithm::Sgd { .. } => Moments::Sgd { buffers: zeros()? },
        };
        let steps = Tensor::f_zeros([0i64; 0], (Kind::Float, parameters[0].device()))?;
        Ok(Optimizer { parameters, moments, steps, spec })
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
        let gradients = &self.in_order(gradients)?[..];
        let OptimizerSpec { learning_rate, weight_decay, .. } = self.spec;
        match (self.spec.algorithm, &self.moments) {
            (Algorithm::Adam { betas }, Moments::Adam { first, second }) => {
                fused_adam(AdamStep {
                    parameters: &self.parameters,
                    gradients,
                    first_moments: first,
                    second_moments: second,
                    step: &self.steps,
                    learning_rate,
                    betas,
                    weight_decay,
                    epsilon: EPSILON,
                    skip,
                })?;
            }
            (Algorithm::Sgd { momentum }, Moments::Sgd { buffers }) => fused_sgd(SgdStep {
                parameters: &self.parameters,
                gradients,
                buffers,
                learning_rate,
                momentum,
                weight_decay,
                // torch's first step copies the gradient into the buffer; from a
                // buffer of zeros, momentum times nothing plus it is the same.
                first_step: false,
                skip,
            })?,
            _ => anyhow::bail!("the optimizer's state is of another algorithm"),
        }
        Ok(())
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

    pub fn parameters(&self) -> &[Tensor] {
        &self.parameters
    }

    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// Number of steps done so far.
    pub fn step_count(&self) -> Result<i64> {
        Ok(self.steps.f_double_value(&[])? as i64)
    }

    /// Goes on from saved moments (each of its parameter's shape) and step count.
    pub fn restore(&mut self, moments: &Moments, steps: i64) -> Result<()> {
        fn copy(into: &mut [Tensor], from: &[Tensor]) -> Result<()> {
            ensure!(
                into.len() == from.len(),
                "the state is of {} parameters, the network has {}",
                from.len(),
                into.len()
            );
            for (index, (into, from)) in into.iter_mut().zip(from).enumerate() {
                ensure!(
                    into.size() == from.size(),
                    "the state of parameter {index} is {:?}, the network's is {:?}",
                    from.size(),
                    into.size()
                );
                tch::no_grad(|| into.f_copy_(from))?;
            }
            Ok(())
        }
        match (&mut self.moments, moments) {
            (
                Moments::Adam { first, second },
                Moments::Adam { first: from_first, second: from_second },
            ) => {
                copy(first, from_first)?;
                copy(second, from_second)?;
            }
            (Moments::Sgd { buffers }, Moments::Sgd { buffers: from }) => {
                // Without momentum there is nothing to keep; a run that begins
                // to use it starts from zero, as torch's does.
                if !buffers.is_empty() && !from.is_empty() {
                    copy(buffers, from)?;
                }
            }
            _ => anyhow::bail!("the state is of another optimizer"),
        }
        let device = self.steps.device();
        self.steps = Tensor::f_full([0i64; 0], steps as f64, (Kind::Float, Device::Cpu))?
            .f_to_device(device)?;
        Ok(())
    }
}
