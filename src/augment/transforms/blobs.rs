//! `BlobsWithBoundary` and `BlobsToMask`: from instances to foreground and boundary.

use anyhow::Result;

use super::boundary::{SIDES, Side, blur, find_boundaries};
use super::label_to_boundary::{BLUR, SIGMA, above};
use super::labels::{APPEND_LABEL, Channels, Extras};
use super::{ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape};
use crate::config::{Parameter, Section};
use crate::volume::Volume;

pub(super) static WITH_BOUNDARY: TransformEntry = TransformEntry {
    name: "BlobsWithBoundary",
    class: TransformClass::Conversion,
    meaning: "Channels: mask of what is above 0, a boundary for each of `mode`, label if \
              `append_label`.",
    parameters: &[
        Parameter::words("mode", SIDES, SIDES, "sides of the boundaries"),
        APPEND_LABEL,
        BLUR,
        SIGMA,
    ],
    build: |section| {
        Ok(Box::new(BlobsWithBoundary {
            sides: sides(section),
            sigma: section.flag(BLUR.name).then(|| section.number(SIGMA.name)),
            extras: Extras::read(section, false),
        }))
    },
};

struct BlobsWithBoundary {
    sides: Vec<Side>,
    sigma: Option<f64>,
    extras: Extras,
}

fn sides(section: &Section<'_>) -> Vec<Side> {
    // The table admits no other words.
    section.words("mode").into_iter().filter_map(Side::of).collect()
}

impl Transform for BlobsWithBoundary {
    fn apply(&self, volume: Volume, _: &TransformContext<'_>) -> Result<Volume> {
        let mut channels = Channels::new(&volume, 1 + self.sides.len(), self.extras);
        channels.push(|mask| above(&volume, 0, mask));
        for &side in &self.sides {
            channels.push(|mask| {
                find_boundaries(&volume, 2, side, mask);
                if let Some(sigma) = self.sigma {
                    blur(mask, volume.size(), sigma);
                }
            });
        }
        Ok(channels.finish())
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        self.extras.output_shape(input, 1 + self.sides.len())
    }
}

pub(super) static TO_MASK: TransformEntry = TransformEntry {
    name: "BlobsToMask",
    class: TransformClass::Conversion,
    meaning: "Channels: mask of what is above 0, outer boundary if `boundary`, label if \
              `append_label`.",
    parameters: &[
        APPEND_LABEL,
        Parameter::flag("boundary", false, "mark the outer boundary too"),
        Parameter::flag("cross_entropy", false, "as class 2 of the mask, not as a channel"),
    ],
    build: |section| Ok(Box::new(BlobsToMask::read(section))),
};

struct BlobsToMask {
    boundary: bool,
    cross_entropy: bool,
    extras: Extras,
}

impl BlobsToMask {
    fn read(section: &Section<'_>) -> Self {
        BlobsToMask {
            boundary: section.flag("boundary"),
            cross_entropy: section.flag("cross_entropy"),
            extras: Extras::read(section, false),
        }
    }

    fn masks(&self) -> usize {
        1 + usize::from(self.boundary && !self.cross_entropy)
    }
}

impl Transform for BlobsToMask {
    fn apply(&self, volume: Volume, _: &TransformContext<'_>) -> Result<Volume> {
        let mut channels = Channels::new(&volume, self.masks(), self.extras);
        if self.boundary && self.cross_entropy {
            let mut foreground = vec![0; volume.size().iter().product()];
            above(&volume, 0, &mut foreground);
            channels.push(|mask| {
                find_boundaries(&volume, 2, Side::Outer, mask);
                for (class, &foreground) in mask.iter_mut().zip(&foreground) {
                    *class = if *class > 0 { 2 } else { foreground };
                }
            });
        } else {
            channels.push(|mask| above(&volume, 0, mask));
            if self.boundary {
                channels.push(|mask| find_boundaries(&volume, 2, Side::Outer, mask));
            }
        }
        Ok(channels.finish())
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        self.extras.output_shape(input, self.masks())
    }
}
