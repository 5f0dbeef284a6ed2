//! How a decoder brings the feature maps of the level below to the size of its own
//! level and joins them with the encoder's.

use std::fmt;

use tch::{TchError, Tensor};

use super::conv::TransposedConv;
use super::graph::{Function, Graph, Value};
use super::layer::UnitSpec;
use super::maps::Maps;
use super::state::Builder;

/// The entrance of one decoder.
pub trait Join: fmt::Debug + Send {
    /// Joins the encoder's feature maps `skip`, (N, C, D, H, W), with those of the
    /// level below; what comes out has the size of `skip`. Takes both by value, so
    /// that their memory is free afterwards.
    fn forward(&self, skip: Tensor, below: Tensor, training: bool) -> Result<Maps, TchError>;

    /// Appends what [`Join::forward`] does.
    fn record(&self, graph: &mut Graph, skip: Value, below: Value) -> Value;
}

/// A kind of join: makes the entrances of a network's decoders and knows which
/// sizes fit them.
pub trait JoinKind: fmt::Debug + Send + Sync {
    /// `skip` and `below` are the channels of the two that are joined.
    fn build(
        &self,
        builder: &mut Builder<'_>,
        skip: i64,
        below: i64,
        unit: &UnitSpec,
    ) -> Result<Box<dyn Join>, TchError>;

    /// Channels of what comes out.
    fn channels(&self, skip: i64, below: i64) -> i64;

    /// Channels of feature maps that a training step keeps for the join itself.
    fn kept_channels(&self, skip: i64, below: i64) -> i64;

    /// Whether `below` voxels along an axis can be brought to `skip`.
    fn reaches(&self, below: i64, skip: i64, axis: usize, unit: &UnitSpec) -> bool;

    /// Checks the feature maps of the levels.
    ///
    /// # Errors
    /// Numbers with which the reference's decoders do not fit together.
    fn check_maps(&self, _: &[i64]) -> Result<(), String> {
        Ok(())
    }
}

/// How values between voxels are found when feature maps grow, as
/// `torch.nn.functional.interpolate` calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    Nearest,
    /// Without aligned corners; bilinear in a single plane.
    Trilinear,
    /// The mean of the voxels that an output voxel covers.
    Area,
}

impl Interpolation {
    /// (N, C, d, h, w) to (N, C, D, H, W) with `size` (D, H, W).
    fn forward(self, x: &Tensor, size: &[i64]) -> Result<Tensor, TchError> {
        match self {
            Self::Nearest => x.f_upsample_nearest3d(size, None, None, None),
            Self::Trilinear => x.f_upsample_trilinear3d(size, false, None, None, None),
            Self::Area => x.f_adaptive_avg_pool3d(size),
        }
    }
}

/// Interpolation to the encoder's size, then concatenation.
#[derive(Clone, Copy, Debug)]
pub struct InterpolatedConcatenation(pub Interpolation);

impl JoinKind for InterpolatedConcatenation {
    fn build(
        &self,
        _: &mut Builder<'_>,
        _: i64,
        _: i64,
        _: &UnitSpec,
    ) -> Result<Box<dyn Join>, TchError> {
        Ok(Box::new(*self))
    }

    fn channels(&self, skip: i64, below: i64) -> i64 {
        skip + below
    }

    /// Both are copied side by side.
    fn kept_channels(&self, skip: i64, below: i64) -> i64 {
        skip + below
    }

    fn reaches(&self, _: i64, _: i64, _: usize, _: &UnitSpec) -> bool {
        true
    }
}

/// `skip` side by side with `below`, brought to its size.
fn concatenate(
    interpolation: Interpolation,
    skip: Tensor,
    below: Tensor,
    training: bool,
) -> Result<Maps, TchError> {
    if !training && interpolation == Interpolation::Nearest {
        let maps = Maps::joined(skip, below);
        return if maps.suit_slabs()? { Ok(maps) } else { Ok(Maps::Whole(maps.whole()?)) };
    }
    let below = interpolation.forward(&below, &skip.size()[2..])?;
    Ok(Maps::Whole(Tensor::f_cat(&[skip, below], 1)?))
}

impl Join for InterpolatedConcatenation {
    fn forward(&self, skip: Tensor, below: Tensor, training: bool) -> Result<Maps, TchError> {
        concatenate(self.0, skip, below, training)
    }

    fn record(&self, graph: &mut Graph, skip: Value, below: Value) -> Value {
        let upsampled = graph.push(Function::Resize(self.0), [below, skip]);
        graph.push(Function::Concatenate, [skip, upsampled])
    }
}

/// Transposed convolution of stride 2 to the encoder's size, then summation.
#[derive(Debug)]
pub struct TransposedSum;

#[derive(Debug)]
struct Transposed(TransposedConv);

impl JoinKind for TransposedSum {
    fn build(
        &self,
        builder: &mut Builder<'_>,
        skip: i64,
        below: i64,
        unit: &UnitSpec,
    ) -> Result<Box<dyn Join>, TchError> {
        let mut upsample = builder.child("upsampling.upsample");
        let conv = TransposedConv::new(&mut upsample, (below, skip), unit.kernel, true)?;
        Ok(Box::new(Transposed(conv)))
    }

    fn channels(&self, skip: i64, _: i64) -> i64 {
        skip
    }

    fn kept_channels(&self, _: i64, _: i64) -> i64 {
        0
    }

    /// A transposed convolution of stride 2 reaches two sizes.
    fn reaches(&self, below: i64, skip: i64, axis: usize, unit: &UnitSpec) -> bool {
        let low = TransposedConv::shortest(below, unit.kernel[axis]);
        (low..low + 2).contains(&skip)
    }
}

impl Join for Transposed {
    fn forward(&self, skip: Tensor, below: Tensor, _: bool) -> Result<Maps, TchError> {
        Ok(Maps::Whole(skip.f_add(&self.0.forward(&below, &skip.size()[2..])?)?))
    }

    fn record(&self, graph: &mut Graph, skip: Value, below: Value) -> Value {
        let upsampled = self.0.record(graph, [below, skip]);
        graph.push(Function::Add, [skip, upsampled])
    }
}

/// Transposed convolution of stride 2 without bias, then nearest neighbour to the
/// encoder's size, which may be any; joined by summation or by concatenation.
#[derive(Clone, Copy, Debug)]
pub struct TransposedToSize {
    pub concatenates: bool,
}

#[derive(Debug)]
struct TransposedToSizeLayers {
    conv: TransposedConv,
    concatenates: bool,
}

impl JoinKind for TransposedToSize {
    fn build(
        &self,
        builder: &mut Builder<'_>,
        skip: i64,
        below: i64,
        unit: &UnitSpec,
    ) -> Result<Box<dyn Join>, TchError> {
        let mut upsample = builder.child("upsampling.upsample.conv_transposed");
        let conv = TransposedConv::new(&mut upsample, (below, skip), unit.kernel, false)?;
        Ok(Box::new(TransposedToSizeLayers { conv, concatenates: self.concatenates }))
    }

    fn channels(&self, skip: i64, _: i64) -> i64 {
        if self.concatenates { 2 * skip } else { skip }
    }

    fn kept_channels(&self, skip: i64, _: i64) -> i64 {
        if self.concatenates { 2 * skip } else { 0 }
    }

    fn reaches(&self, _: i64, _: i64, _: usize, _: &UnitSpec) -> bool {
        true
    }

    /// The reference's decoders take as many channels as the level below has.
    fn check_maps(&self, maps: &[i64]) -> Result<(), String> {
        match maps.windows(2).find(|pair| pair[1] != 2 * pair[0]) {
            Some(pair) if self.concatenates => Err(format!(
                "with `upsample: deconv` each level has twice the feature maps of the one above, \
                 and {} is not twice {}",
                pair[1], pair[0]
            )),
            _ => Ok(()),
        }
    }
}

impl Join for TransposedToSizeLayers {
    fn forward(&self, skip: Tensor, below: Tensor, training: bool) -> Result<Maps, TchError> {
        let below = self.conv.forward_shortest(&below)?;
        if self.concatenates {
            return concatenate(Interpolation::Nearest, skip, below, training);
        }
        let upsampled = Interpolation::Nearest.forward(&below, &skip.size()[2..])?;
        Ok(Maps::Whole(skip.f_add(&upsampled)?))
    }

    fn record(&self, graph: &mut Graph, skip: Value, below: Value) -> Value {
        let upsampled = self.conv.record(graph, [below]);
        let upsampled = graph.push(Function::Resize(Interpolation::Nearest), [upsampled, skip]);
        let joined = if self.concatenates { Function::Concatenate } else { Function::Add };
        graph.push(joined, [skip, upsampled])
    }
}
