//! `Normalize`: maps the range of the file to [−1, 1].

use anyhow::{Result, anyhow};

use super::{
    ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape, floats,
};
use crate::config::Parameter;
use crate::volume::{Statistics, Volume};

pub(super) static ENTRY: TransformEntry = TransformEntry {
    name: "Normalize",
    class: TransformClass::Conversion,
    meaning: "clip(2 (x − min) / (max − min) − 1, −1, 1), with the range of the file's raw data, \
              for labels too.",
    parameters: &[
        Parameter::number("min_value", 0.0, "replaces the file's minimum").optional(),
        Parameter::number("max_value", 0.0, "replaces the file's maximum").optional(),
    ],
    build: |section| {
        let (min, max) = (section.maybe_number("min_value"), section.maybe_number("max_value"));
        if let (Some(min), Some(max)) = (min, max)
            && max <= min
        {
            let message = format!("must be larger than `min_value`, {min}");
            return Err(section.error("max_value", message));
        }
        Ok(Box::new(Normalize { min, max }))
    },
};

struct Normalize {
    min: Option<f64>,
    max: Option<f64>,
}

impl Normalize {
    fn range(&self, statistics: &Statistics) -> Result<(f64, f64), String> {
        let min = self.min.unwrap_or(statistics.min);
        let max = self.max.unwrap_or(statistics.max);
        if max > min {
            Ok((min, max))
        } else {
            // Also true if one of them is not a number.
            Err(format!(
                "`Normalize` needs raw data that vary, but their minimum is {min} and their \
                 maximum {max}; give `min_value` and `max_value`, or leave the file out"
            ))
        }
    }
}

impl Transform for Normalize {
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume> {
        let (min, max) = self.range(context.statistics).map_err(|message| anyhow!(message))?;
        Ok(floats::map(volume, |x| (2.0 * ((x - min) / (max - min)) - 1.0).clamp(-1.0, 1.0)))
    }

    fn check(&self, statistics: &Statistics) -> Result<(), String> {
        self.range(statistics).map(|_| ())
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        Ok(floats::output_shape(input))
    }
}
