//! Transforms of patches: one transform or one family a file.
//!
//! A [`Transformer`] is the `transformer` section of a phase: a list of transforms for each of
//! raw, label and weight. A [`Transform`] maps one volume to another. It gets its random numbers
//! from a stream of its [`TransformContext`]; the keys of the streams are such that geometric
//! transforms of raw, label and weight draw the same numbers (see [`stream`]).

mod agreement;
mod index_map;
mod normalization;
#[cfg(test)]
mod recorded;
mod registry;
mod step;
pub mod stream;
mod transformer;
mod transforms;

pub use index_map::IndexMap;
pub use normalization::{normalization, normalization_differs};
pub use registry::{ShapeError, TransformClass, TransformEntry};
pub use transformer::{SampleShape, TRANSFORMER, Transformer};
pub use transforms::TRANSFORMS;

use anyhow::Result;

use crate::volume::{Statistics, Volume, VolumeShape, Voxels};
use stream::Stream;

/// A transform of volumes, one step of a list.
pub trait Transform: Send + Sync {
    /// Transforms one volume (D, H, W) or (C, D, H, W). It takes the volume by value, so that it
    /// can work in place.
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume>;

    /// As [`Transform::apply`], on a volume in whatever form it is held. A
    /// transform that does not know compact forms is given the volume they stand
    /// for; the result is the same either way.
    fn apply_voxels(&self, volume: Voxels, context: &TransformContext<'_>) -> Result<Voxels> {
        self.apply(volume.expand(), context).map(Voxels::Dense)
    }

    /// The shape of the result for volumes of the shape `input`.
    ///
    /// # Errors
    /// Why such volumes cannot be transformed.
    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        Ok(input)
    }

    /// The map of a step that only flips and turns the grid. Consecutive ones
    /// are composed and applied at once.
    fn index_map(&self, _scope: &TransformContext<'_>) -> Option<IndexMap> {
        None
    }

    /// Refuses to work without statistics of the file, with the reason as the error.
    fn check_patch_statistics(&self) -> Result<(), String> {
        Ok(())
    }

    /// Refuses a file by its statistics, with the reason as the error.
    fn check(&self, _statistics: &Statistics) -> Result<(), String> {
        Ok(())
    }
}

/// Whose mean and deviation normalize a patch, for transforms that know both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatisticsOf {
    /// Those of all voxels of its file.
    File,
    /// Its own.
    Patch,
}

/// What a transform knows about the sample it works on.
pub struct TransformContext<'a> {
    /// Statistics of the file from which the patch was taken.
    pub statistics: &'a Statistics,
    /// Whether transforms that know both use these statistics or those of the patch.
    pub statistics_of: StatisticsOf,
    /// Identifies the stream of this step; [`TransformContext::stream`] opens it.
    pub key: stream::StreamKey<'a>,
    /// Values, such as a deformation, that steps with the same name and occurrence in the raw,
    /// label and weight lists of a sample share: the first step computes them, the others reuse
    /// them.
    pub shared: &'a stream::Shared,
}

impl TransformContext<'_> {
    /// The random stream of this step; every call starts it from the beginning.
    pub fn stream(&self) -> Stream {
        self.key.open()
    }
}
