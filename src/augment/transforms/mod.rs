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
mod upstream;

use super::{
    IndexMap, ShapeError, Transform, TransformClass, TransformContext, TransformEntry, stream,
};
use crate::config::{Dialects, Parameter, Registry};
use crate::volume::VolumeShape;

/// All transforms.
pub static TRANSFORMS: Dialects<Registry<TransformEntry>> = Dialects {
    fork: registry(&[
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
    ]),
    upstream: registry(&[
        &affinities::LABEL_TO_AFFINITIES,
        &upstream::labels::TO_BOUNDARY_AND_AFFINITIES,
        &affinities::LABEL_TO_MASK_AND_AFFINITIES,
        &affinities::LABEL_TO_Z_AFFINITIES,
        &affinities::RANDOM_LABEL_TO_AFFINITIES,
        &blobs::TO_MASK,
        &upstream::contrast::ENTRY,
        &upstream::gamma::ENTRY,
        &upstream::crop::ENTRY,
        &elastic::ENTRY,
        &flip::ENTRY,
        &upstream::blur::ENTRY,
        &identity::ENTRY,
        &upstream::labels::TO_BOUNDARY,
        &noise::GAUSSIAN,
        &noise::POISSON,
        &upstream::normalize::ENTRY,
        &upstream::percentiles::ENTRY,
        &upstream::relabel::ENTRY,
        &upstream::rgb::ENTRY,
        &upstream::rotate90::ENTRY,
        &upstream::rotate::ENTRY,
        &upstream::standardize::ENTRY,
        &upstream::tensor::LABEL,
        &upstream::tensor::ENTRY,
    ]),
};

const fn registry(entries: &'static [&'static TransformEntry]) -> Registry<TransformEntry> {
    let name = Parameter::text("name", "", "the transform").required();
    Registry { kind: "transform", name, entries, shared: &[], refused: &[] }
}
