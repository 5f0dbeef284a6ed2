//! `Normalize`: maps the range of the patch to [−1, 1] or [0, 1].

use anyhow::Result;

use super::{
    EPS, ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape,
    extent, floats,
};
use crate::config::Parameter;
use crate::volume::Volume;

pub(in super::super) static ENTRY: TransformEntry = TransformEntry {
    name: "Normalize",
    class: TransformClass::Conversion,
    meaning: "clip(2n − 1, −1, 1) with n = (x − min) / (max − min + eps), or clip(n, 0, 1) with \
              `norm01`; the range is that of the patch.",
    parameters: &[
        Parameter::number("min_value", 0.0, "in place of the patch's minimum").optional(),
        Parameter::number("max_value", 0.0, "in place of the patch's maximum").optional(),
        Parameter::flag("norm01", false, "to [0, 1]"),
        EPS,
    ],
    build: |section| {
        let (min, max) = (section.maybe_number("min_value"), section.maybe_number("max_value"));
        if let (Some(min), Some(max)) = (min, max)
            && max <= min
        {
            let message = format!("must be larger than `min_value`, {min}");
            return Err(section.error("max_value", message));
        }
        let (norm01, eps) = (section.flag("norm01"), section.number("eps"));
        Ok(Box::new(Normalize { min, max, norm01, eps }))
    },
};

struct Normalize {
    min: Option<f64>,
    max: Option<f64>,
    norm01: bool,
    eps: f64,
}

impl Transform for Normalize {
    fn apply(&self, volume: Volume, _: &TransformContext<'_>) -> Result<Volume> {
        let (least, greatest) = extent(&volume);
        let (min, max) = (self.min.unwrap_or(least), self.max.unwrap_or(greatest));
        let divisor = max - min + self.eps;
        Ok(match self.norm01 {
            true => floats::map(volume, |x| ((x - min) / divisor).clamp(0.0, 1.0)),
            false => floats::map(volume, |x| (2.0 * ((x - min) / divisor) - 1.0).clamp(-1.0, 1.0)),
        })
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        Ok(floats::output_shape(input))
    }
}
