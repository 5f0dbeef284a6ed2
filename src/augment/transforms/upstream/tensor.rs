//! `ToTensor` with normalization, and `LabelToTensor`.

use anyhow::Result;

use super::super::to_tensor::{DTYPE, EXPAND_DIMS, ToTensor};
use super::{
    ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape, extent,
    floats,
};
use crate::config::Parameter;
use crate::volume::{Element, Volume, Voxels};

pub(in super::super) static ENTRY: TransformEntry = TransformEntry {
    name: "ToTensor",
    class: TransformClass::Conversion,
    meaning: "Casts to `dtype` as numpy's astype does (towards zero, wrapping), and gives (D, H, \
              W) a channel axis if asked to.",
    parameters: &[
        EXPAND_DIMS,
        DTYPE,
        Parameter::flag("normalize", false, "scales the range of the patch to [0, 1] first"),
    ],
    build: |section| {
        let plain = ToTensor::read(section)?;
        Ok(match section.flag("normalize") {
            true => Box::new(Normalized(plain)),
            false => Box::new(plain),
        })
    },
};

pub(in super::super) static LABEL: TransformEntry = TransformEntry {
    name: "LabelToTensor",
    class: TransformClass::Conversion,
    meaning: "Casts to int64.",
    parameters: &[],
    build: |_| Ok(Box::new(LabelToTensor)),
};

/// Keeps the divisor from 0.
const EPS: f64 = 1e-10;

struct Normalized(ToTensor);

impl Transform for Normalized {
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume> {
        let (min, max) = extent(&volume);
        let scaled = floats::map(volume, |x| (x - min) / (max - min + EPS));
        self.0.apply(scaled, context)
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        self.0.output_shape(input)
    }
}

struct LabelToTensor;

impl Transform for LabelToTensor {
    fn apply(&self, volume: Volume, _: &TransformContext<'_>) -> Result<Volume> {
        Ok(volume.cast(Element::I64))
    }

    fn apply_voxels(&self, volume: Voxels, context: &TransformContext<'_>) -> Result<Voxels> {
        self.apply(volume.expand(), context).map(Voxels::Dense)
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        Ok(input.with_element(Element::I64))
    }
}
