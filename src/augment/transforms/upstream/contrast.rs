//! `RandomContrast`: stretches intensities about a mean.

use anyhow::Result;

use super::{
    ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape, floats,
    range,
};
use crate::augment::stream::RandomSource;
use crate::config::Parameter;
use crate::volume::Volume;

pub(in super::super) static ENTRY: TransformEntry = TransformEntry {
    name: "RandomContrast",
    class: TransformClass::Intensity,
    meaning: "clip(μ + α (x − μ), −1, 1) with one α for all channels, uniform in `alpha`.",
    parameters: &[
        Parameter::numbers("alpha", &[0.5, 1.5], "range of α").of_length(2),
        Parameter::number(
            "mean",
            0.0,
            "μ; the mean of the file if absent, which needs `loaders.global_normalization`",
        )
        .optional(),
        Parameter::probability("execution_probability", 0.1, "how often it acts"),
    ],
    build: |section| {
        Ok(Box::new(RandomContrast {
            alpha: range(section, "alpha")?,
            mean: section.maybe_number("mean"),
            execution_probability: section.number("execution_probability"),
        }))
    },
};

/// Draws whether it is applied, then α.
struct RandomContrast {
    alpha: [f64; 2],
    mean: Option<f64>,
    execution_probability: f64,
}

impl Transform for RandomContrast {
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume> {
        let mut stream = context.stream();
        let volume = floats::convert(volume);
        if !stream.chance(self.execution_probability) {
            return Ok(volume);
        }
        let alpha = stream.between(self.alpha[0], self.alpha[1]);
        let mean = self.mean.unwrap_or(context.statistics.mean);
        Ok(floats::map(volume, |x| (mean + alpha * (x - mean)).clamp(-1.0, 1.0)))
    }

    fn check_patch_statistics(&self) -> Result<(), String> {
        match self.mean {
            Some(_) => Ok(()),
            None => Err("`RandomContrast` needs a mean: give `mean`, or set \
                         `loaders.global_normalization: true` for that of the file"
                .into()),
        }
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        Ok(floats::output_shape(input))
    }
}
