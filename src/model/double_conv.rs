//! The basic module of a plain U-Net.

use tch::{TchError, Tensor};

use super::block::{Block, BlockKind, Side};
use super::graph::{Graph, Value};
use super::layer::{ConvUnit, UnitSpec};
use super::maps::Maps;
use super::state::Builder;

/// Two convolution units, one after the other
/// ([Çiçek et al. 2016](https://arxiv.org/abs/1606.06650)).
#[derive(Debug)]
pub struct DoubleConv {
    /// Whether the first unit of an encoder has all output channels already; otherwise
    /// half of them.
    pub widens_at_once: bool,
    /// Probability of dropout in the first and in the second unit, where the order has
    /// one.
    pub dropout: [f64; 2],
}

impl DoubleConv {
    /// Widens in two steps; nothing is dropped.
    pub const PLAIN: DoubleConv = DoubleConv { widens_at_once: false, dropout: [0.0; 2] };
}

#[derive(Debug)]
struct Layers {
    first: ConvUnit,
    second: ConvUnit,
}

impl BlockKind for DoubleConv {
    fn build(
        &self,
        builder: &mut Builder<'_>,
        side: Side,
        channels: (i64, i64),
        unit: &UnitSpec,
    ) -> Result<Box<dyn Block>, TchError> {
        let units = self.units(side, channels);
        let [first, second] = self.dropout.map(|dropout| UnitSpec { dropout, ..unit.clone() });
        Ok(Box::new(Layers {
            first: ConvUnit::new(&mut builder.child("SingleConv1"), units[0], &first)?,
            second: ConvUnit::new(&mut builder.child("SingleConv2"), units[1], &second)?,
        }))
    }

    /// An encoder widens in two steps, unless told otherwise; a decoder narrows in the
    /// first.
    fn units(&self, side: Side, (input, output): (i64, i64)) -> Vec<(i64, i64)> {
        let middle = match side {
            Side::Encoder if self.widens_at_once => output.max(input),
            Side::Encoder => (output / 2).max(input),
            Side::Decoder => output,
        };
        vec![(input, middle), (middle, output)]
    }
}

impl Block for Layers {
    fn forward(&self, x: Maps, training: bool) -> Result<Tensor, TchError> {
        self.second.forward(self.first.forward(x, training)?, training)
    }

    fn record(&self, graph: &mut Graph, x: Value) -> Value {
        let x = self.first.record(graph, x);
        self.second.record(graph, x)
    }
}
