//! `Standardize`: zero mean, unit standard deviation.

use anyhow::Result;

use super::{
    ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape, floats,
};
use crate::config::Parameter;
use crate::volume::Volume;

pub(super) static ENTRY: TransformEntry = TransformEntry {
    name: "Standardize",
    class: TransformClass::Conversion,
    meaning: "(x − mean) / max(std, eps), with mean and standard deviation of the file's raw \
              data, for labels too.",
    parameters: &[
        Parameter::number("mean", 0.0, "replaces the file's mean").optional(),
        Parameter::number("std", 1.0, "replaces the file's standard deviation")
            .at_least(0.0)
            .optional(),
        Parameter::number("eps", 1e-6, "smallest divisor").within(f64::MIN_POSITIVE, f64::MAX),
    ],
    build: |section| {
        Ok(Box::new(Standardize {
            mean: section.maybe_number("mean"),
            std: section.maybe_number("std"),
            eps: section.number("eps"),
        }))
    },
};

struct Standardize {
    mean: Option<f64>,
    std: Option<f64>,
    eps: f64,
}

impl Transform for Standardize {
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume> {
        let mean = self.mean.unwrap_or(context.statistics.mean);
        let divisor = self.std.unwrap_or(context.statistics.std).max(self.eps);
        Ok(floats::map(volume, |x| (x - mean) / divisor))
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        Ok(floats::output_shape(input))
    }
}
