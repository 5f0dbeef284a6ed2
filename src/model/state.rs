//! The named tensors of a network: made while it is built, read and written by
//! checkpoints and optimizers.

use tch::{Device, Kind, TchError, Tensor};

use crate::device::{Kinds, MemoryFormat};

/// A trainable tensor and its name in the state dict.
#[derive(Debug)]
pub struct NamedParameter {
    pub name: String,
    pub tensor: Tensor,
}

/// All tensors of a network in the order of torch's `state_dict()`.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Name, tensor, and whether it is trained.
    entries: Vec<(String, Tensor, bool)>,
}

/// A set of tensors that does not fit a network.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct StateError(Vec<String>);

impl State {
    /// Trained tensors in torch's order, which numbers the optimizer's state.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.entries.iter().filter(|(_, _, trained)| *trained).map(|(n, t, _)| (n.as_str(), t))
    }

    /// Tensors that are not trained.
    pub fn buffers(&self) -> impl Iterator<Item = &Tensor> {
        self.entries.iter().filter(|(_, _, trained)| !*trained).map(|(_, tensor, _)| tensor)
    }

    pub fn entries(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.entries.iter().map(|(name, tensor, _)| (name.as_str(), tensor))
    }

    /// Puts the weights of convolutions into the order of `format`. Whoever shares the
    /// tensors sees them so.
    pub fn set_format(&self, format: MemoryFormat) -> Result<(), TchError> {
        tch::no_grad(|| {
            let weights = self.entries.iter().filter(|(_, tensor, _)| tensor.dim() == 5);
            for (_, tensor, _) in weights {
                tensor.shallow_clone().f_set_data(&format.apply(tensor)?)?;
            }
            Ok(())
        })
    }

    /// Copies values into the network's tensors, after checking all of them.
    pub fn load(&self, values: &[(String, Tensor)]) -> anyhow::Result<()> {
        let mut faults = Vec::new();
        for (name, tensor, _) in &self.entries {
            match values.iter().find(|(other, _)| other == name) {
                None => faults.push(format!("`{name}` {:?} is missing", tensor.size())),
                Some((_, value)) if value.size() != tensor.size() => faults.push(format!(
                    "`{name}` is {:?}, the network wants {:?}",
                    value.size(),
                    tensor.size()
                )),
                Some(_) => {}
            }
        }
        for (name, value) in values {
            if !self.entries.iter().any(|(other, _, _)| other == name) {
                faults.push(format!("`{name}` {:?} has no place in it", value.size()));
            }
        }
        if !faults.is_empty() {
            return Err(StateError(faults).into());
        }
        tch::no_grad(|| -> anyhow::Result<()> {
            for (name, tensor, _) in &self.entries {
                if let Some((_, value)) = values.iter().find(|(other, _)| other == name) {
                    tensor.shallow_clone().f_copy_(value)?;
                }
            }
            Ok(())
        })
    }
}

/// The first values of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InitialWeights {
    /// As torch draws them.
    Drawn,
    /// None: they are to be loaded.
    Uninitialized,
}

/// How the tensors of a network are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct TensorOptions {
    pub kinds: Kinds,
    pub device: Device,
    pub format: MemoryFormat,
    pub weights: InitialWeights,
    /// Whether weights have no z axis, as those of 2D layers.
    pub planar: bool,
}

/// Makes the tensors of a network under their names.
pub struct Builder<'a> {
    state: &'a mut State,
    prefix: String,
    storage: TensorOptions,
}

impl<'a> Builder<'a> {
    pub(super) fn new(state: &'a mut State, storage: TensorOptions) -> Self {
        Builder { state, prefix: String::new(), storage }
    }

    /// A builder for the module `name` below this one.
    pub fn child(&mut self, name: &str) -> Builder<'_> {
        let prefix = if self.prefix.is_empty() {
            name.to_string()
        } else {
            format!("{}.{name}", self.prefix)
        };
        Builder { state: self.state, prefix, storage: self.storage }
    }

    /// The name of the module that is built.
    pub fn name(&self) -> String {
        self.prefix.clone()
    }

    pub fn kinds(&self) -> Kinds {
        self.storage.kinds
    }

    /// Whether weights have no z axis, as those of 2D layers.
    pub fn planar(&self) -> bool {
        self.storage.planar
    }

    fn register(&mut self, name: &str, tensor: Tensor, trained: bool) -> Result<Tensor, TchError> {
        let tensor = tensor.f_to_device(self.storage.device)?;
        let tensor = if tensor.dim() == 5 { self.storage.format.apply(&tensor)? } else { tensor };
        let tensor = if trained { tensor.f_set_requires_grad(true)? } else { tensor };
        let name = format!("{}.{name}", self.prefix);
        self.state.entries.push((name, tensor.shallow_clone(), trained));
        Ok(tensor)
    }

    /// A parameter drawn from U(−b, b) with b = 1/√`fan_in`: what torch's
    /// `kaiming_uniform_(a=√5)` comes to, with which it starts the weights and biases
    /// of convolutions (`torch.nn.modules.conv._ConvNd.reset_parameters`). For a
    /// transposed convolution, whose weight begins with the input channels, `fan_in`
    /// counts the output channels. Drawn on the CPU, so that a seed gives the same
    /// network on every device.
    pub fn fan_in_uniform(
        &mut self,
        name: &str,
        shape: &[i64],
        fan_in: i64,
    ) -> Result<Tensor, TchError> {
        let bound = 1.0 / (fan_in as f64).sqrt();
        let mut tensor = Tensor::f_empty(shape, (self.storage.kinds.tensors, Device::Cpu))?;
        if self.storage.weights == InitialWeights::Drawn {
            tensor = tch::no_grad(|| tensor.f_uniform_(-bound, bound))?;
        }
        self.register(name, tensor, true)
    }

    /// A parameter that starts at `value` everywhere.
    pub fn constant(&mut self, name: &str, size: i64, value: f64) -> Result<Tensor, TchError> {
        let tensor = Tensor::f_full([size], value, (self.storage.kinds.tensors, Device::Cpu))?;
        self.register(name, tensor, true)
    }

    /// A tensor that is saved but not trained.
    pub fn buffer(&mut self, name: &str, size: i64, value: f64) -> Result<Tensor, TchError> {
        let tensor = Tensor::f_full([size], value, (self.storage.kinds.tensors, Device::Cpu))?;
        self.register(name, tensor, false)
    }

    /// An int64 scalar that counts from 0.
    pub fn counter(&mut self, name: &str) -> Result<Tensor, TchError> {
        let tensor = Tensor::f_zeros([0i64; 0], (Kind::Int64, Device::Cpu))?;
        self.register(name, tensor, false)
    }
}
