//! `RandomRotate`, which always acts.

use super::super::rotate::{ANGLE_SPECTRUM, MODE_REFLECT, ORDER, RandomRotate};
use super::{TransformClass, TransformEntry};
use crate::config::Parameter;
use crate::resample::sample::Border;
use crate::resample::volume::{Fill, Resampling};

pub(in super::super) static ENTRY: TransformEntry = TransformEntry {
    name: "RandomRotate",
    class: TransformClass::Geometric,
    meaning: "Turns every volume about its centre by a random angle in a random plane, keeping its \
              shape, as scipy.ndimage.rotate without reshape; −1 lies outside with `mode` \
              constant.",
    parameters: &[
        ANGLE_SPECTRUM,
        Parameter::planes("axes", PLANES, "planes to choose from"),
        MODE_REFLECT,
        ORDER,
    ],
    build: |section| {
        Ok(Box::new(RandomRotate {
            angle_spectrum: section.integer("angle_spectrum"),
            planes: section.maybe_planes("axes").unwrap_or_default(),
            resampling: Resampling {
                order: section.size("order"),
                border: Border::of_mode(section.text("mode")),
                fill: Fill::Value(-1.0),
            },
            execution_probability: 1.0,
        }))
    },
};

const PLANES: &[[i64; 2]] = &[[1, 0], [2, 1], [2, 0]];
