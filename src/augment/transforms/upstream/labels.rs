//! Boundaries of labels with the foreground before them.

use super::super::affinities::{LabelToBoundaryAndAffinities, XY_OFFSETS, Z_OFFSETS};
use super::super::label_to_boundary::{Boundary, MODE, StandardLabelToBoundary};
use super::super::labels::{APPEND_LABEL, Extras, IGNORE_INDEX};
use super::{TransformClass, TransformEntry};
use crate::config::Parameter;

pub(in super::super) static TO_BOUNDARY: TransformEntry = TransformEntry {
    name: "StandardLabelToBoundary",
    class: TransformClass::Conversion,
    meaning: "Boundaries between labels (D, H, W), with neighbours across faces and edges. \
              Channels: mask of what is above 0 if `foreground`, boundary, label if \
              `append_label`.",
    parameters: &[IGNORE_INDEX, APPEND_LABEL, MODE, FOREGROUND],
    build: |section| {
        let boundary = Boundary::sharp(section, FOREGROUND.name);
        let extras = Extras::read(section, true);
        Ok(Box::new(StandardLabelToBoundary { boundary, extras }))
    },
};

pub(in super::super) static TO_BOUNDARY_AND_AFFINITIES: TransformEntry = TransformEntry {
    name: "LabelToBoundaryAndAffinities",
    class: TransformClass::Conversion,
    meaning: "The channels of `StandardLabelToBoundary`, then those of `LabelToAffinities`.",
    parameters: &[XY_OFFSETS, Z_OFFSETS, APPEND_LABEL, IGNORE_INDEX, MODE, FOREGROUND],
    build: |section| {
        let boundary = Boundary::sharp(section, FOREGROUND.name);
        Ok(Box::new(LabelToBoundaryAndAffinities::read(section, boundary)?))
    },
};

const FOREGROUND: Parameter =
    Parameter::flag("foreground", false, "the first channel is a mask of what is above 0");
