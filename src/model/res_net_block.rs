//! The basic module of upstream's residual U-Nets, plain or with squeeze and
//! excitation.

use tch::{Kind, TchError, Tensor};

use super::block::{Block, BlockKind, Side};
use super::conv::Conv;
use super::graph::{Function, Graph, Value};
use super::layer::{ConvUnit, Operation, UnitSpec, activate, record_activation};
use super::maps::Maps;
use super::state::Builder;

/// A 1×1×1 convolution to the wanted channels, where their number changes, then two
/// convolution units; its output is added to theirs before the non-linearity
/// ([Lee et al. 2017](https://arxiv.org/abs/1706.00120)).
#[derive(Debug)]
pub struct ResNetBlock {
    /// Whether what comes out is scaled by [`SqueezeExcitation`].
    pub excited: bool,
}

/// Slope of the non-linearity after the sum; within the units `l` has the family's.
const SLOPE: f64 = 0.1;
/// Probability of dropout, whatever `dropout_prob` says.
const DROPOUT: f64 = 0.1;

#[derive(Debug)]
struct Layers {
    /// `None` where the channels are those wanted.
    widen: Option<Conv>,
    second: ConvUnit,
    third: ConvUnit,
    non_linearity: Operation,
    excitation: Option<SqueezeExcitation>,
}

impl BlockKind for ResNetBlock {
    fn build(
        &self,
        builder: &mut Builder<'_>,
        _: Side,
        channels: (i64, i64),
        unit: &UnitSpec,
    ) -> Result<Box<dyn Block>, TchError> {
        let unit = UnitSpec { dropout: DROPOUT, ..unit.clone() };
        let linear = UnitSpec { order: unit.order.linear(), ..unit.clone() };
        let inner = (channels.1, channels.1);
        let widen = (channels.0 != channels.1)
            .then(|| Conv::new(&mut builder.child("conv1"), channels, [1; 3], [0; 3], true))
            .transpose()?;
        Ok(Box::new(Layers {
            widen,
            second: ConvUnit::new(&mut builder.child("conv2"), inner, &unit)?,
            third: ConvUnit::new(&mut builder.child("conv3"), inner, &linear)?,
            non_linearity: unit.order.residual_non_linearity(),
            excitation: self
                .excited
                .then(|| SqueezeExcitation::new(&mut builder.child("se_module"), channels.1))
                .transpose()?,
        }))
    }

    fn units(&self, _: Side, (_, output): (i64, i64)) -> Vec<(i64, i64)> {
        vec![(output, output), (output, output)]
    }
}

impl Block for Layers {
    fn forward(&self, x: Maps, training: bool) -> Result<Tensor, TchError> {
        let x = x.whole()?;
        let residual = match &self.widen {
            Some(conv) => conv.forward(&x)?,
            None => x,
        };
        let x = self.second.forward(residual.shallow_clone(), training)?;
        let x = self.third.forward(x, training)?;
        let x = activate(x.f_add(&residual)?, self.non_linearity, SLOPE)?;
        match &self.excitation {
            Some(excitation) => excitation.forward(&x),
            None => Ok(x),
        }
    }

    fn record(&self, graph: &mut Graph, x: Value) -> Value {
        let residual = match &self.widen {
            Some(conv) => conv.record(graph, x),
            None => x,
        };
        let x = self.second.record(graph, residual);
        let x = self.third.record(graph, x);
        let sum = graph.push(Function::Add, [x, residual]);
        let x = record_activation(graph, sum, self.non_linearity, SLOPE);
        match &self.excitation {
            Some(excitation) => excitation.record(graph, x),
            None => x,
        }
    }
}

/// Concurrent spatial and channel squeeze and excitation, the larger of the two
/// ([Roy et al. 2018](https://arxiv.org/abs/1803.02579)).
#[derive(Debug)]
struct SqueezeExcitation {
    name: String,
    /// Weight (C, C) and bias (C) of two dense layers.
    squeeze: [Tensor; 2],
    excite: [Tensor; 2],
    /// To one channel.
    spatial: Conv,
}

/// Names of the two dense layers.
const SQUEEZE: &str = "cSE.fc1";
const EXCITE: &str = "cSE.fc2";

impl SqueezeExcitation {
    fn new(builder: &mut Builder<'_>, channels: i64) -> Result<Self, TchError> {
        let name = builder.name();
        let mut dense = |name: &str| -> Result<[Tensor; 2], TchError> {
            let mut builder = builder.child(name);
            let weight = builder.fan_in_uniform("weight", &[channels, channels], channels)?;
            Ok([weight, builder.fan_in_uniform("bias", &[channels], channels)?])
        };
        Ok(SqueezeExcitation {
            name,
            squeeze: dense(SQUEEZE)?,
            excite: dense(EXCITE)?,
            spatial: Conv::new(
                &mut builder.child("sSE.conv"),
                (channels, 1),
                [1; 3],
                [0; 3],
                true,
            )?,
        })
    }

    /// (N, C, D, H, W) to the same shape.
    fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let mean = x.f_mean_dim([2i64, 3, 4].as_slice(), false, None::<Kind>)?;
        let [weight, bias] = &self.squeeze;
        let hidden = mean.f_linear(weight, Some(bias))?.f_relu()?;
        let [weight, bias] = &self.excite;
        let channels = hidden.f_linear(weight, Some(bias))?.f_sigmoid()?;
        let channels = channels.f_view([x.size()[0], -1, 1, 1, 1])?;
        let space = self.spatial.forward(x)?.f_sigmoid()?;
        x.f_mul(&channels)?.f_maximum(&x.f_mul(&space)?)
    }

    fn record(&self, graph: &mut Graph, x: Value) -> Value {
        let dense = |name: &str| Function::Linear { name: format!("{}.{name}", self.name) };
        let mean = graph.push(Function::MeanOverSpace, [x]);
        let hidden = graph.push(dense(SQUEEZE), [mean]);
        let hidden = graph.push(Function::Relu, [hidden]);
        let channels = graph.push(dense(EXCITE), [hidden]);
        let channels = graph.push(Function::Sigmoid, [channels]);
        let channels = graph.push(Function::AsChannels, [channels]);
        let space = self.spatial.record(graph, x);
        let space = graph.push(Function::Sigmoid, [space]);
        let by_channel = graph.push(Function::Multiply, [x, channels]);
        let by_voxel = graph.push(Function::Multiply, [x, space]);
        graph.push(Function::Maximum, [by_channel, by_voxel])
    }
}
