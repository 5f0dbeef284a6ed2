//! Affinities: whether a voxel's label differs from that of a voxel at an offset.
//!
//! Transforms labels (D, H, W) to masks, one per offset and axis, with the axes in the order x,
//! y, z (Lee et al. 2017, <https://arxiv.org/abs/1706.00120>).

use anyhow::Result;

use super::label_to_boundary::{BLOBS, BLUR, Boundary, MODE, SIGMA, above};
use super::labels::{APPEND_LABEL, Channels, Extras, IGNORE_INDEX};
use super::stream::RandomSource;
use super::{ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape};
use crate::config::{ConfigError, Parameter, Section};
use crate::resample::reflect_index;
use crate::volume::Volume;
use crate::with_values;

/// An axis of a volume, as its index in (D, H, W).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetAxis {
    Z,
    Y,
    X,
}

/// The axes in the order of the channels.
const XYZ: [OffsetAxis; 3] = [OffsetAxis::X, OffsetAxis::Y, OffsetAxis::Z];

/// Sets voxel i to 1 where label[i + ⌈o/2⌉] ≠ label[i − ⌊o/2⌋] along `axis`, and to 0 elsewhere.
/// The label is mirrored at its border with the edge repeated.
pub fn affinity(label: &Volume, axis: OffsetAxis, offset: usize, mask: &mut [u8]) {
    let size = label.size();
    with_values!(&label.values, values => {
        let values = values.as_slice().expect("volumes are contiguous");
        compare(values, size, axis, offset, mask)
    });
}

fn compare<T: PartialEq + Copy>(
    label: &[T],
    size: [usize; 3],
    axis: OffsetAxis,
    offset: usize,
    mask: &mut [u8],
) {
    let [depth, height, width] = size;
    if label.is_empty() {
        return;
    }
    let (ahead, behind) = (offset.div_ceil(2), offset / 2);
    let ends = |i: usize, n: usize| {
        let i = i as isize;
        (reflect_index(i + ahead as isize, n), reflect_index(i - behind as isize, n))
    };
    if axis == OffsetAxis::X {
        for (marks, row) in mask.chunks_exact_mut(width).zip(label.chunks_exact(width)) {
            let inside = behind.min(width)..width.saturating_sub(ahead).max(behind.min(width));
            for i in (0..inside.start).chain(inside.end..width) {
                let (a, b) = ends(i, width);
                marks[i] = u8::from(row[a] != row[b]);
            }
            if !inside.is_empty() {
                differ(&row[behind + ahead..], row, &mut marks[inside]);
            }
        }
        return;
    }
    for (i, marks) in mask.chunks_exact_mut(width).enumerate() {
        let (z, y) = (i / height, i % height);
        let (a, b) = if axis == OffsetAxis::Y {
            let (a, b) = ends(y, height);
            (z * height + a, z * height + b)
        } else {
            let (a, b) = ends(z, depth);
            (a * height + y, b * height + y)
        };
        differ(&label[a * width..][..width], &label[b * width..][..width], marks);
    }
}

fn differ<T: PartialEq>(a: &[T], b: &[T], marks: &mut [u8]) {
    for ((mark, a), b) in marks.iter_mut().zip(a).zip(b) {
        *mark = u8::from(a != b);
    }
}

/// Adds the channel of one axis and offset.
pub fn push_affinity(label: &Volume, axis: OffsetAxis, offset: usize, channels: &mut Channels<'_>) {
    channels.push(|mask| affinity(label, axis, offset, mask));
}

/// Reads a list of offsets in voxels, which must be unique.
pub fn offsets(section: &Section<'_>, key: &str) -> Result<Option<Vec<usize>>, ConfigError> {
    let Some(given) = section.maybe_integers(key) else { return Ok(None) };
    let mut unique = given.clone();
    unique.sort_unstable();
    unique.dedup();
    if given.is_empty() || unique.len() < given.len() || unique[0] < 1 {
        return Err(section.error(key, "offsets are wanted: positive integers, no two the same"));
    }
    Ok(Some(given.into_iter().map(|offset| offset as usize).collect()))
}

/// Pairs of an offset along x and y and one along z.
struct Offsets(Vec<(usize, usize)>);

impl Offsets {
    fn read(section: &Section<'_>, xy: &str, z: &str) -> Result<Self, ConfigError> {
        let along_xy = offsets(section, xy)?.unwrap_or_default();
        let along_z = offsets(section, z)?.unwrap_or_else(|| along_xy.clone());
        if along_z.len() != along_xy.len() {
            let message = format!("must be as many as `{xy}`, {}", along_xy.len());
            return Err(section.error(z, message));
        }
        Ok(Offsets(along_xy.into_iter().zip(along_z).collect()))
    }

    fn channels(&self) -> usize {
        3 * self.0.len()
    }

    fn push(&self, label: &Volume, channels: &mut Channels<'_>) {
        for &(xy, z) in &self.0 {
            for axis in XYZ {
                let offset = if axis == OffsetAxis::Z { z } else { xy };
                push_affinity(label, axis, offset, channels);
            }
        }
    }
}

const fn offsets_key(name: &'static str, meaning: &'static str) -> Parameter {
    Parameter::integers(name, &[], meaning).at_least(1.0)
}

pub const XY_OFFSETS: Parameter = offsets_key("xy_offsets", "offsets along x and y").required();
pub const Z_OFFSETS: Parameter = offsets_key("z_offsets", "offsets along z").required();

pub(super) static LABEL_TO_AFFINITIES: TransformEntry = TransformEntry {
    name: "LabelToAffinities",
    class: TransformClass::Conversion,
    meaning: "Affinities along x, y and z for each offset; label if `append_label`.",
    parameters: &[
        offsets_key("offsets", "offsets along x and y").required(),
        offsets_key("z_offsets", "offsets along z; `offsets` if absent").optional(),
        Parameter::flag(
            "aggregate_affinities",
            false,
            "one channel for each offset: where any of the three axes has an affinity",
        ),
        APPEND_LABEL,
        IGNORE_INDEX,
    ],
    build: |section| {
        Ok(Box::new(LabelToAffinities {
            offsets: Offsets::read(section, "offsets", "z_offsets")?,
            aggregate: section.flag("aggregate_affinities"),
            extras: Extras::read(section, true),
        }))
    },
};

struct LabelToAffinities {
    offsets: Offsets,
    aggregate: bool,
    extras: Extras,
}

impl LabelToAffinities {
    fn masks(&self) -> usize {
        let each = if self.aggregate { 1 } else { 3 };
        each * self.offsets.0.len()
    }
}

impl Transform for LabelToAffinities {
    fn apply(&self, volume: Volume, _: &TransformContext<'_>) -> Result<Volume> {
        if !self.aggregate {
            let mut channels = Channels::new(&volume, self.masks(), self.extras);
            self.offsets.push(&volume, &mut channels);
            return Ok(channels.finish());
        }
        let mut channels = Channels::new(&volume, self.masks(), self.extras);
        let mut along_one = vec![0; volume.size().iter().product()];
        for &(xy, z) in &self.offsets.0 {
            channels.push(|mask| {
                affinity(&volume, OffsetAxis::X, xy, mask);
                for (axis, offset) in [(OffsetAxis::Y, xy), (OffsetAxis::Z, z)] {
                    affinity(&volume, axis, offset, &mut along_one);
                    for (mark, other) in mask.iter_mut().zip(&along_one) {
                        *mark |= other;
                    }
                }
            });
        }
        Ok(channels.finish())
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        self.extras.output_shape(input, self.masks())
    }
}

pub(super) static LABEL_TO_Z_AFFINITIES: TransformEntry = TransformEntry {
    name: "LabelToZAffinities",
    class: TransformClass::Conversion,
    meaning: "Affinities along z for each offset; label if `append_label`.",
    parameters: &[offsets_key("offsets", "offsets along z").required(), APPEND_LABEL, IGNORE_INDEX],
    build: |section| {
        Ok(Box::new(LabelToZAffinities {
            offsets: offsets(section, "offsets")?.unwrap_or_default(),
            extras: Extras::read(section, true),
        }))
    },
};

struct LabelToZAffinities {
    offsets: Vec<usize>,
    extras: Extras,
}

impl Transform for LabelToZAffinities {
    fn apply(&self, volume: Volume, _: &TransformContext<'_>) -> Result<Volume> {
        let mut channels = Channels::new(&volume, self.offsets.len(), self.extras);
        for &offset in &self.offsets {
            push_affinity(&volume, OffsetAxis::Z, offset, &mut channels);
        }
        Ok(channels.finish())
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        self.extras.output_shape(input, self.offsets.len())
    }
}

pub(super) static RANDOM_LABEL_TO_AFFINITIES: TransformEntry = TransformEntry {
    name: "RandomLabelToAffinities",
    class: TransformClass::Conversion,
    meaning: "Affinities along one random axis with an offset uniform in 1…`max_offset`; label if \
              `append_label`.",
    parameters: &[
        Parameter::integer("max_offset", 10, "largest offset").at_least(1.0),
        Parameter::integer("z_offset_scale", 2, "offsets along z are divided by it").at_least(1.0),
        APPEND_LABEL,
        IGNORE_INDEX,
    ],
    build: |section| {
        Ok(Box::new(RandomLabelToAffinities {
            max_offset: section.size("max_offset"),
            z_offset_scale: section.size("z_offset_scale"),
            extras: Extras::read(section, true),
        }))
    },
};

/// Draws the axis (x, y or z), then the offset.
struct RandomLabelToAffinities {
    max_offset: usize,
    z_offset_scale: usize,
    extras: Extras,
}

impl Transform for RandomLabelToAffinities {
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume> {
        let mut stream = context.stream();
        let axis = XYZ[stream.index(3)];
        let mut offset = 1 + stream.index(self.max_offset);
        if axis == OffsetAxis::Z {
            offset = (offset / self.z_offset_scale).max(1);
        }
        let mut channels = Channels::new(&volume, 1, self.extras);
        push_affinity(&volume, axis, offset, &mut channels);
        Ok(channels.finish())
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        self.extras.output_shape(input, 1)
    }
}

pub(super) static LABEL_TO_BOUNDARY_AND_AFFINITIES: TransformEntry = TransformEntry {
    name: "LabelToBoundaryAndAffinities",
    class: TransformClass::Conversion,
    meaning: "The channels of `StandardLabelToBoundary`, then those of `LabelToAffinities`.",
    parameters: &[XY_OFFSETS, Z_OFFSETS, APPEND_LABEL, BLUR, SIGMA, IGNORE_INDEX, MODE, BLOBS],
    build: |section| {
        Ok(Box::new(LabelToBoundaryAndAffinities::read(section, Boundary::read(section))?))
    },
};

pub struct LabelToBoundaryAndAffinities {
    boundary: Boundary,
    offsets: Offsets,
    extras: Extras,
}

impl LabelToBoundaryAndAffinities {
    /// With this boundary, and all else as the section says.
    pub fn read(section: &Section<'_>, boundary: Boundary) -> Result<Self, ConfigError> {
        Ok(LabelToBoundaryAndAffinities {
            boundary,
            offsets: Offsets::read(section, XY_OFFSETS.name, Z_OFFSETS.name)?,
            extras: Extras::read(section, true),
        })
    }

    fn masks(&self) -> usize {
        self.boundary.channels() + self.offsets.channels()
    }
}

impl Transform for LabelToBoundaryAndAffinities {
    fn apply(&self, volume: Volume, _: &TransformContext<'_>) -> Result<Volume> {
        let mut channels = Channels::new(&volume, self.masks(), self.extras);
        self.boundary.push(&volume, &mut channels);
        self.offsets.push(&volume, &mut channels);
        Ok(channels.finish())
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        self.extras.output_shape(input, self.masks())
    }
}

pub(super) static LABEL_TO_MASK_AND_AFFINITIES: TransformEntry = TransformEntry {
    name: "LabelToMaskAndAffinities",
    class: TransformClass::Conversion,
    meaning: "A mask of what is above `background`, then the channels of `LabelToAffinities`.",
    parameters: &[
        XY_OFFSETS,
        Z_OFFSETS,
        APPEND_LABEL,
        Parameter::integer("background", 0, "label of the background"),
        IGNORE_INDEX,
    ],
    build: |section| {
        Ok(Box::new(LabelToMaskAndAffinities {
            background: section.integer("background"),
            offsets: Offsets::read(section, "xy_offsets", "z_offsets")?,
            extras: Extras::read(section, true),
        }))
    },
};

struct LabelToMaskAndAffinities {
    background: i64,
    offsets: Offsets,
    extras: Extras,
}

impl Transform for LabelToMaskAndAffinities {
    fn apply(&self, volume: Volume, _: &TransformContext<'_>) -> Result<Volume> {
        let mut channels = Channels::new(&volume, 1 + self.offsets.channels(), self.extras);
        channels.push_plain(|mask| above(&volume, self.background, mask));
        self.offsets.push(&volume, &mut channels);
        Ok(channels.finish())
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        self.extras.output_shape(input, 1 + self.offsets.channels())
    }
}
