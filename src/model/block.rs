//! The basic modules of a level: double convolution and residual block.

use tch::{TchError, Tensor};

use super::layer::{ConvUnit, Operation, UnitSpec, activate};
use super::state::Builder;

/// The basic module of one level of a network.
#[derive(Debug)]
pub enum Block {
    Double(DoubleConv),
    Residual(ResidualBlock),
}

impl Block {
    /// Takes `x`, so that it can go as soon as the first layer has seen it.
    pub fn forward(&self, x: Tensor, training: bool) -> Result<Tensor, TchError> {
        match self {
            Block::Double(block) => block.forward(x, training),
            Block::Residual(block) => block.forward(x, training),
        }
    }
}

/// Two convolution units, one after the other.
#[derive(Debug)]
pub struct DoubleConv {
    first: ConvUnit,
    second: ConvUnit,
}

impl DoubleConv {
    /// `middle` is the number of channels between the two.
    pub(super) fn new(
        builder: &mut Builder<'_>,
        input: i64,
        middle: i64,
        output: i64,
        spec: &UnitSpec,
    ) -> Result<Self, TchError> {
        Ok(DoubleConv {
            first: ConvUnit::new(&mut builder.child("SingleConv1"), (input, middle), spec)?,
            second: ConvUnit::new(&mut builder.child("SingleConv2"), (middle, output), spec)?,
        })
    }

    fn forward(&self, x: Tensor, training: bool) -> Result<Tensor, TchError> {
        self.second.forward(self.first.forward(x, training)?, training)
    }
}

/// Three convolution units; the first one's output is added to the last one's
/// before the non-linearity ([Lee et al. 2017](https://arxiv.org/abs/1706.00120)).
#[derive(Debug)]
pub struct ResidualBlock {
    first: ConvUnit,
    second: ConvUnit,
    third: ConvUnit,
    non_linearity: Operation,
}

impl ResidualBlock {
    pub(super) fn new(
        builder: &mut Builder<'_>,
        input: i64,
        output: i64,
        spec: &UnitSpec,
    ) -> Result<Self, TchError> {
        let linear = UnitSpec { order: spec.order.linear(), ..spec.clone() };
        // The reference decides on a convolution bias by the letters the unit
        // keeps; dropping non-linearities never changes that.
        Ok(ResidualBlock {
            first: ConvUnit::new(&mut builder.child("conv1"), (input, output), spec)?,
            second: ConvUnit::new(&mut builder.child("conv2"), (output, output), spec)?,
            third: ConvUnit::new(&mut builder.child("conv3"), (output, output), &linear)?,
            non_linearity: spec.order.residual_non_linearity(),
        })
    }

    fn forward(&self, x: Tensor, training: bool) -> Result<Tensor, TchError> {
        let residual = self.first.forward(x, training)?;
        let x = self.second.forward(residual.shallow_clone(), training)?;
        let x = self.third.forward(x, training)?;
        activate(x.f_add(&residual)?, self.non_linearity)
    }
}
