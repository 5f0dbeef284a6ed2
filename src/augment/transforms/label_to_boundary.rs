//! `StandardLabelToBoundary`: from instances to a mask of their boundaries.

use anyhow::Result;

use super::boundary::{SIDES, Side, blur, find_boundaries};
use super::labels::{APPEND_LABEL, Channels, Extras, IGNORE_INDEX, Label};
use super::{ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape};
use crate::config::{Parameter, Section};
use crate::volume::Volume;
use crate::with_values;

pub(super) static ENTRY: TransformEntry = TransformEntry {
    name: "StandardLabelToBoundary",
    class: TransformClass::Conversion,
    meaning: "Boundaries between labels (D, H, W), with neighbours across faces and edges. \
              Channels: mask of what is above 0 if `blobs`, boundary, label if `append_label`.",
    parameters: &[IGNORE_INDEX, APPEND_LABEL, BLUR, SIGMA, MODE, BLOBS],
    build: |section| {
        let extras = Extras::read(section, true);
        Ok(Box::new(StandardLabelToBoundary { boundary: Boundary::read(section), extras }))
    },
};

pub const BLUR: Parameter = Parameter::flag(
    "blur",
    false,
    "smooth the boundary with a gaussian and take what reaches one half",
);
pub const SIGMA: Parameter =
    Parameter::number("sigma", 1.0, "standard deviation of the blur in voxels").within(0.0, 1e4);
pub const MODE: Parameter =
    Parameter::choice("mode", "thick", SIDES, "which side of a boundary is marked");
pub const BLOBS: Parameter =
    Parameter::flag("blobs", false, "the first channel is a mask of what is above 0");

pub struct StandardLabelToBoundary {
    pub boundary: Boundary,
    pub extras: Extras,
}

/// The keys `blur`, `sigma`, `mode` and `blobs`.
pub struct Boundary {
    side: Side,
    /// Standard deviation of the blur.
    sigma: Option<f64>,
    blobs: bool,
}

impl Boundary {
    /// Without blur, the mask before it if the flag `blobs` says so.
    pub fn sharp(section: &Section<'_>, blobs: &str) -> Self {
        Boundary {
            // The table admits no other words.
            side: Side::of(section.text(MODE.name)).unwrap_or(Side::Thick),
            sigma: None,
            blobs: section.flag(blobs),
        }
    }

    pub fn read(section: &Section<'_>) -> Self {
        Boundary {
            // The table admits no other words.
            side: Side::of(section.text(MODE.name)).unwrap_or(Side::Thick),
            sigma: section.flag(BLUR.name).then(|| section.number(SIGMA.name)),
            blobs: section.flag(BLOBS.name),
        }
    }

    pub fn channels(&self) -> usize {
        1 + usize::from(self.blobs)
    }

    pub fn push(&self, label: &Volume, channels: &mut Channels<'_>) {
        if self.blobs {
            channels.push(|mask| above(label, 0, mask));
        }
        channels.push(|mask| {
            find_boundaries(label, 2, self.side, mask);
            if let Some(sigma) = self.sigma {
                blur(mask, label.size(), sigma);
            }
        });
    }
}

/// Marks voxels that are larger than `background`.
pub fn above(label: &Volume, background: i64, mask: &mut [u8]) {
    with_values!(&label.values, values => {
        for (mark, value) in mask.iter_mut().zip(values) {
            *mark = u8::from(value.is_above(background));
        }
    });
}

impl Transform for StandardLabelToBoundary {
    fn apply(&self, volume: Volume, _: &TransformContext<'_>) -> Result<Volume> {
        let mut channels = Channels::new(&volume, self.boundary.channels(), self.extras);
        self.boundary.push(&volume, &mut channels);
        Ok(channels.finish())
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        self.extras.output_shape(input, self.boundary.channels())
    }
}
