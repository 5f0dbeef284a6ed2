//! The transforms, one or one family a file, and the list of them all: adding one
//! adds a file here and a line to [`TRANSFORMS`].

mod affine;
mod affinities;
mod blobs;
mod boundary;
mod bspline_deformation;
mod contrast;
mod crop;
mod elastic;
mod flip;
mod floats;
mod fly_wing;
mod gradual_blur;
mod identity;
mod itk_deformation;
mod label_to_boundary;
mod labels;
mod noise;
mod normalize;
mod relabel;
mod rotate;
mod rotate90;
mod standardize;
mod to_tensor;

use super::{
    IndexMap, ShapeError, Transform, TransformClass, TransformContext, TransformEntry, stream,
};
use crate::config::{Parameter, Registry};
use crate::volume::VolumeShape;

/// All transforms.
pub static TRANSFORMS: Registry<TransformEntry> = Registry {
    kind: "transform",
    name: Parameter::text("name", "", "the transform").required(),
    entries: &[
        &affine::ENTRY,
        &affinities::LABEL_TO_AFFINITIES,
        &affinities::LABEL_TO_BOUNDARY_AND_AFFINITIES,
        &affinities::LABEL_TO_MASK_AND_AFFINITIES,
        &affinities::LABEL_TO_Z_AFFINITIES,
        &affinities::RANDOM_LABEL_TO_AFFINITIES,
        &blobs::TO_MASK,
        &blobs::WITH_BOUNDARY,
        &bspline_deformation::ENTRY,
        &contrast::ENTRY,
        &crop::ENTRY,
        &elastic::ENTRY,
        &flip::ENTRY,
        &fly_wing::ENTRY,
        &gradual_blur::ENTRY,
        &identity::ENTRY,
        &itk_deformation::ENTRY,
        &label_to_boundary::ENTRY,
        &noise::GAUSSIAN,
        &noise::POISSON,
        &normalize::ENTRY,
        &relabel::ENTRY,
        &rotate90::ENTRY,
        &rotate::ENTRY,
        &standardize::ENTRY,
        &to_tensor::ENTRY,
    ],
    shared: &[],
    refused: &[],
};
