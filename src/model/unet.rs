//! The U-Net itself: encoders, decoders, final convolution.

use std::cell::Cell;

use anyhow::Result;
use tch::{Device, Kind, TchError, Tensor};

use crate::device::{FormatChoice, Kinds, MemoryFormat, Purpose};

use super::block::{Block, Side};
use super::conv::Conv;
use super::family::Anatomy;
use super::graph::{Function, Graph, Value};
use super::join::Join;
use super::spec::{NetworkSpec, Stage};
use super::state::{Builder, InitialWeights, NamedParameter, State, TensorOptions};

/// The function of the logits that is written and measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    Sigmoid,
    /// Over the channels.
    Softmax,
    /// Regression: the output as it is.
    None,
}

impl Activation {
    /// (N, C, D, H, W) logits to probabilities of the same shape.
    pub fn forward(self, logits: &Tensor) -> Result<Tensor, TchError> {
        match self {
            Activation::Sigmoid => logits.f_sigmoid(),
            Activation::Softmax => logits.f_softmax(1, None::<Kind>),
            Activation::None => Ok(logits.shallow_clone()),
        }
    }
}

#[derive(Debug)]
struct Encoder {
    /// Max pooling before the block; none at the first level.
    pool: Option<[i64; 3]>,
    block: Box<dyn Block>,
}

#[derive(Debug)]
struct Decoder {
    join: Box<dyn Join>,
    block: Box<dyn Block>,
}

/// A U-Net of any family, on one device.
#[derive(Debug)]
pub struct UNet {
    encoders: Vec<Encoder>,
    decoders: Vec<Decoder>,
    final_conv: Conv,
    state: State,
    spec: NetworkSpec,
    /// Of weights and feature maps.
    format: Cell<MemoryFormat>,
}

impl UNet {
    /// A network with fresh weights, drawn from torch's default generator, in the
    /// memory format in which it predicts fastest on the device.
    pub fn new(spec: &NetworkSpec, kinds: impl Into<Kinds>, device: Device) -> Result<Self> {
        let kinds = kinds.into();
        let choice = FormatChoice::new(None, device, kinds, Purpose::Prediction);
        Self::with_format(spec, kinds, device, choice.format)
    }

    /// As [`UNet::new`], with weights and feature maps in the order of `format`.
    pub fn with_format(
        spec: &NetworkSpec,
        kinds: impl Into<Kinds>,
        device: Device,
        format: MemoryFormat,
    ) -> Result<Self> {
        Self::build(spec, kinds.into(), device, format, InitialWeights::Drawn)
    }

    /// As [`UNet::new`], with weights that hold no values until they are loaded: no
    /// time is spent on drawing them, nor memory touched.
    pub fn uninitialized(
        spec: &NetworkSpec,
        kinds: impl Into<Kinds>,
        device: Device,
    ) -> Result<Self> {
        let kinds = kinds.into();
        let choice = FormatChoice::new(None, device, kinds, Purpose::Prediction);
        Self::build(spec, kinds, device, choice.format, InitialWeights::Uninitialized)
    }

    fn build(
        spec: &NetworkSpec,
        kinds: Kinds,
        device: Device,
        format: MemoryFormat,
        weights: InitialWeights,
    ) -> Result<Self> {
        let Anatomy { block, join, pool, planar, .. } = &spec.anatomy;
        let storage = TensorOptions { kinds, device, format, weights, planar: *planar };
        let mut state = State::default();
        let mut root = Builder::new(&mut state, storage);

        let (mut encoders, mut decoders) = (Vec::new(), Vec::new());
        for Stage { level, side, channels, joined } in spec.stages() {
            let list = match side {
                Side::Encoder => format!("encoders.{}", encoders.len()),
                Side::Decoder => format!("decoders.{}", decoders.len()),
            };
            let mut builder = root.child(&list);
            let join = joined
                .map(|(skip, below)| join.build(&mut builder, skip, below, &spec.unit))
                .transpose()?;
            let mut module = builder.child("basic_module");
            let block = block.build(&mut module, side, channels, &spec.unit)?;
            match join {
                None => encoders.push(Encoder { pool: (level > 0).then_some(*pool), block }),
                Some(join) => decoders.push(Decoder { join, block }),
            }
        }

        let mut builder = root.child("final_conv");
        let channels = (spec.f_maps[0], spec.out_channels);
        let final_conv = Conv::new(&mut builder, channels, [1, 1, 1], [0, 0, 0], true)?;
        Ok(UNet {
            encoders,
            decoders,
            final_conv,
            state,
            spec: spec.clone(),
            format: Cell::new(format),
        })
    }

    pub fn memory_format(&self) -> MemoryFormat {
        self.format.get()
    }

    /// Goes on in another order of weights and feature maps. Values stay what they are;
    /// what is computed from now on differs in its last bits.
    pub fn set_memory_format(&self, format: MemoryFormat) -> Result<(), TchError> {
        self.state.set_format(format)?;
        self.format.set(format);
        Ok(())
    }

    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// Logits (N, C_out, D, H, W) of a batch (N, C_in, D, H, W). `training`
    /// decides whether batch norms use and update the statistics of the batch.
    pub fn forward(&self, x: &Tensor, training: bool) -> Result<Tensor, TchError> {
        self.logits(&self.features(x.shallow_clone(), training)?)
    }

    /// The feature maps (N, f_maps[0], D, H, W) that the final convolution sees.
    /// The memory of each is freed after its last use, unless a gradient needs it.
    pub fn features(&self, mut x: Tensor, training: bool) -> Result<Tensor, TchError> {
        let mut skips = Vec::with_capacity(self.encoders.len());
        x = self.format.get().apply(&x)?;
        for encoder in &self.encoders {
            if let Some(kernel) = encoder.pool {
                x = x.f_max_pool3d(kernel, kernel, [0, 0, 0], [1, 1, 1], false)?;
            }
            x = encoder.block.forward(x.into(), training)?;
            skips.push(x.shallow_clone());
        }
        skips.pop();
        for decoder in &self.decoders {
            let skip = skips.pop().ok_or_else(|| TchError::Shape("no skip connection".into()))?;
            x = decoder.block.forward(decoder.join.forward(skip, x, training)?, training)?;
        }
        Ok(x)
    }

    /// The final convolution on feature maps of any size. Logits have single
    /// precision at least.
    pub fn logits(&self, features: &Tensor) -> Result<Tensor, TchError> {
        let logits = self.final_conv.forward(features)?;
        match logits.f_kind()? {
            Kind::Double => Ok(logits),
            _ => logits.f_to_kind(Kind::Float),
        }
    }

    /// What the network computes in prediction, up to probabilities or, in regression,
    /// numbers.
    pub fn graph(&self) -> Graph {
        let mut graph = Graph::default();
        let (mut x, mut skips) = (Value::INPUT, Vec::new());
        for encoder in &self.encoders {
            if let Some(kernel) = encoder.pool {
                x = graph.push(Function::MaxPool { kernel }, [x]);
            }
            x = encoder.block.record(&mut graph, x);
            skips.push(x);
        }
        // The lowest level feeds the first decoder, which joins it with the one above.
        skips.pop();
        for (decoder, skip) in self.decoders.iter().zip(skips.into_iter().rev()) {
            x = decoder.join.record(&mut graph, skip, x);
            x = decoder.block.record(&mut graph, x);
        }
        x = self.final_conv.record(&mut graph, x);
        match self.activation() {
            Activation::Sigmoid => graph.push(Function::Sigmoid, [x]),
            Activation::Softmax => graph.push(Function::Softmax, [x]),
            Activation::None => x,
        };
        graph
    }

    /// What is applied to the logits when predicting and measuring.
    pub fn activation(&self) -> Activation {
        match (self.spec.is_segmentation, self.spec.final_sigmoid) {
            (false, _) => Activation::None,
            (true, true) => Activation::Sigmoid,
            (true, false) => Activation::Softmax,
        }
    }

    /// The trained tensors, in the order that numbers an optimizer's state.
    pub fn parameters(&self) -> Vec<NamedParameter> {
        self.state
            .parameters()
            .map(|(name, tensor)| NamedParameter {
                name: name.to_string(),
                tensor: tensor.shallow_clone(),
            })
            .collect()
    }

    /// What the network keeps besides trained tensors: the running statistics of batch
    /// norms.
    pub fn buffers(&self) -> Vec<Tensor> {
        self.state.buffers().map(Tensor::shallow_clone).collect()
    }

    /// Number of trained values.
    pub fn parameter_count(&self) -> usize {
        self.state.parameters().map(|(_, tensor)| tensor.numel()).sum()
    }

    /// All tensors under their names, in the order of torch's `state_dict()`.
    pub fn state_dict(&self) -> Vec<(String, Tensor)> {
        self.state.entries().map(|(name, t)| (name.to_string(), t.shallow_clone())).collect()
    }

    /// Copies values into the network, after checking that every tensor has one
    /// of its shape and none is left over.
    pub fn load_state_dict(&self, values: &[(String, Tensor)]) -> Result<()> {
        self.state.load(values)
    }
}
