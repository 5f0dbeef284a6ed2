//! The basic module of a residual U-Net.

use tch::{TchError, Tensor};

use super::block::{Block, BlockKind, Side};
use super::graph::{Function, Graph, Value};
use super::layer::{ConvUnit, Operation, UnitSpec, activate, record_activation};
use super::maps::Maps;
use super::state::Builder;

/// Three convolution units; the first one's output is added to the last one's
/// before the non-linearity ([Lee et al. 2017](https://arxiv.org/abs/1706.00120)).
#[derive(Debug)]
pub struct ResidualBlock;

#[derive(Debug)]
struct Layers {
    first: ConvUnit,
    second: ConvUnit,
    third: ConvUnit,
    non_linearity: Operation,
    leaky_slope: f64,
}

impl BlockKind for ResidualBlock {
    fn build(
        &self,
        builder: &mut Builder<'_>,
        side: Side,
        channels: (i64, i64),
        unit: &UnitSpec,
    ) -> Result<Box<dyn Block>, TchError> {
        let units = self.units(side, channels);
        // The reference decides on a convolution bias by the letters the unit
        // keeps; dropping non-linearities never changes that.
        let linear = UnitSpec { order: unit.order.linear(), ..unit.clone() };
        Ok(Box::new(Layers {
            first: ConvUnit::new(&mut builder.child("conv1"), units[0], unit)?,
            second: ConvUnit::new(&mut builder.child("conv2"), units[1], unit)?,
            third: ConvUnit::new(&mut builder.child("conv3"), units[2], &linear)?,
            non_linearity: unit.order.residual_non_linearity(),
            leaky_slope: unit.leaky_slope,
        }))
    }

    fn units(&self, _: Side, (input, output): (i64, i64)) -> Vec<(i64, i64)> {
        vec![(input, output), (output, output), (output, output)]
    }
}

impl Block for Layers {
    fn forward(&self, x: Maps, training: bool) -> Result<Tensor, TchError> {
        let residual = self.first.forward(x, training)?;
        let x = self.second.forward(residual.shallow_clone(), training)?;
        let x = self.third.forward(x, training)?;
        activate(x.f_add(&residual)?, self.non_linearity, self.leaky_slope)
    }

    fn record(&self, graph: &mut Graph, x: Value) -> Value {
        let residual = self.first.record(graph, x);
        let x = self.second.record(graph, residual);
        let x = self.third.record(graph, x);
        let sum = graph.push(Function::Add, [x, residual]);
        record_activation(graph, sum, self.non_linearity, self.leaky_slope)
    }
}
