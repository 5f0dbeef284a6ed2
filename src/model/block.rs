//! What the basic modules of a level have in common.

use std::fmt;

use tch::{TchError, Tensor};

use super::graph::{Graph, Value};
use super::layer::UnitSpec;
use super::maps::Maps;
use super::state::Builder;

/// The basic module of one level of a network.
pub trait Block: fmt::Debug + Send {
    /// (N, C_in, D, H, W) to (N, C_out, D', H', W').
    ///
    /// Takes `x` by value, so that its memory is free once the first layer has
    /// read it.
    fn forward(&self, x: Maps, training: bool) -> Result<Tensor, TchError>;

    /// Appends what [`Block::forward`] does in prediction.
    fn record(&self, graph: &mut Graph, x: Value) -> Value;
}

/// Where in the network a block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Encoder,
    Decoder,
}

/// A kind of block: makes the blocks of a network and knows the sizes of their
/// feature maps before anything runs.
pub trait BlockKind: fmt::Debug + Send + Sync {
    /// Makes a block that turns `input` channels into `output`.
    fn build(
        &self,
        builder: &mut Builder<'_>,
        side: Side,
        channels: (i64, i64),
        unit: &UnitSpec,
    ) -> Result<Box<dyn Block>, TchError>;

    /// Channels that go into and out of each convolution unit of such a block, in
    /// the order in which they run.
    fn units(&self, side: Side, channels: (i64, i64)) -> Vec<(i64, i64)>;

    /// Length along an axis of what comes out of a block for `length` voxels.
    fn length(&self, side: Side, length: i64, axis: usize, unit: &UnitSpec) -> i64 {
        let per_unit = 2 * unit.padding[axis] + 1 - unit.kernel[axis];
        // The number of units does not depend on the channels.
        length + self.units(side, (1, 1)).len() as i64 * per_unit
    }
}
