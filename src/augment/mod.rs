//! Transforms of patches: one transform or one family a file.
//!
//! A [`Transformer`] is the `transformer` section of a phase: a list of transforms
//! for raw, label and weight. A [`Transform`] maps one volume to another. Where
//! it draws at random it takes a stream from its [`TransformContext`]; the streams are keyed
//! so that raw, label and weight of a sample see the same draws (see [`stream`]).

mod agreement;
mod index_map;
#[cfg(test)]
mod recorded;
mod reference;
mod registry;
mod step;
pub mod stream;
mod transformer;
mod transforms;

pub use index_map::IndexMap;
pub use reference::reference;
pub use registry::{TransformClass, TransformEntry};
pub use transformer::{SampleShape, Transformer};
pub use transforms::{TRANSFORMS, planes};

use anyhow::Result;

use crate::volume::{Statistics, Volume, Voxels};
use stream::Stream;

/// A step of a list of transforms.
pub trait Transform: Send + Sync {
    /// Transforms one volume (D, H, W) or (C, D, H, W). The volume is given by
    /// value, so that what can be done in place is.
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume>;

    /// As [`Transform::apply`], on a volume in whatever form it is held. A
    /// transform that does not know compact forms is given the volume they stand
    /// for; the result is the same either way.
    fn apply_voxels(&self, volume: Voxels, context: &TransformContext<'_>) -> Result<Voxels> {
        self.apply(volume.expand(), context).map(Voxels::Dense)
    }

    /// The map of a step that only flips and turns the grid. Consecutive ones
    /// are composed and applied at once.
    fn index_map(&self, _scope: &TransformContext<'_>) -> Option<IndexMap> {
        None
    }

    /// Why this transform cannot work on a file of these statistics.
    fn check(&self, _statistics: &Statistics) -> Result<(), String> {
        Ok(())
    }
}

/// What a transform knows of the sample it works on.
pub struct TransformContext<'a> {
    /// Of the file the patch comes from.
    pub statistics: &'a Statistics,
    /// Identifies the stream of this step; [`TransformContext::stream`] opens it.
    pub key: stream::StreamKey<'a>,
    /// What the steps of the same kind and rank in the raw, label and weight
    /// lists of one sample have in common, such as a deformation: computed by
    /// the first that asks, kept for the others.
    pub shared: &'a stream::Shared,
}

impl TransformContext<'_> {
    /// The stream of this step, from its beginning each time.
    pub fn stream(&self) -> Stream {
        self.key.open()
    }
}
