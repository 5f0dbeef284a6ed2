//! `FlyWingBoundary`: labels of cells that are separated by lines of zeros.

use anyhow::Result;

use super::affinities::{OffsetAxis, offsets, push_affinity};
use super::boundary::{Side, find_boundaries};
use super::labels::{APPEND_LABEL, Channels, Extras, IGNORE_INDEX, Label};
use super::{ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape};
use crate::config::{ConfigError, Parameter, Section};
use crate::volume::Volume;
use crate::with_values;

pub(super) static ENTRY: TransformEntry = TransformEntry {
    name: "FlyWingBoundary",
    class: TransformClass::Conversion,
    meaning: "Channels: mask of what is 0; outer boundary with neighbours across faces if \
              `thick_boundary`; affinities along z for each of `z_offsets`; label if \
              `append_label`.",
    parameters: &[
        APPEND_LABEL,
        Parameter::flag("thick_boundary", true, "add the outer boundary"),
        IGNORE_INDEX,
        Parameter::integers("z_offsets", &[], "offsets of affinities along z")
            .at_least(1.0)
            .optional(),
    ],
    build: |section| Ok(Box::new(FlyWingBoundary::read(section)?)),
};

struct FlyWingBoundary {
    thick: bool,
    z_offsets: Vec<usize>,
    extras: Extras,
}

impl FlyWingBoundary {
    fn read(section: &Section<'_>) -> Result<Self, ConfigError> {
        Ok(FlyWingBoundary {
            thick: section.flag("thick_boundary"),
            z_offsets: offsets(section, "z_offsets")?.unwrap_or_default(),
            extras: Extras::read(section, true),
        })
    }

    fn masks(&self) -> usize {
        1 + usize::from(self.thick) + self.z_offsets.len()
    }
}

impl Transform for FlyWingBoundary {
    fn apply(&self, volume: Volume, _: &TransformContext<'_>) -> Result<Volume> {
        let mut channels = Channels::new(&volume, self.masks(), self.extras);
        channels.push(|mask| {
            with_values!(&volume.values, values => {
                for (mark, value) in mask.iter_mut().zip(values) {
                    *mark = u8::from(value.is(0));
                }
            });
        });
        if self.thick {
            channels.push(|mask| find_boundaries(&volume, 1, Side::Outer, mask));
        }
        for &offset in &self.z_offsets {
            push_affinity(&volume, OffsetAxis::Z, offset, &mut channels);
        }
        Ok(channels.finish())
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        self.extras.output_shape(input, self.masks())
    }
}
