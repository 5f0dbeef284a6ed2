//! `RandomGammaCorrection`: a power of the intensities.

use anyhow::Result;

use super::{
    ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape, extent,
    floats, range,
};
use crate::augment::stream::RandomSource;
use crate::config::Parameter;
use crate::volume::Volume;

pub(in super::super) static ENTRY: TransformEntry = TransformEntry {
    name: "RandomGammaCorrection",
    class: TransformClass::Intensity,
    meaning: "Scales the range of the patch to [0, 1], then raises it to a power that is uniform \
              in `gamma`.",
    parameters: &[
        Parameter::numbers("gamma", &[0.5, 1.5], "range of the power").at_least(0.0).of_length(2),
        Parameter::probability("execution_probability", 0.1, "how often it acts"),
    ],
    build: |section| {
        Ok(Box::new(RandomGamma {
            gamma: range(section, "gamma")?,
            execution_probability: section.number("execution_probability"),
        }))
    },
};

/// Draws whether it is applied, then the power.
struct RandomGamma {
    gamma: [f64; 2],
    execution_probability: f64,
}

impl Transform for RandomGamma {
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume> {
        let mut stream = context.stream();
        let volume = floats::convert(volume);
        if !stream.chance(self.execution_probability) {
            return Ok(volume);
        }
        let gamma = stream.between(self.gamma[0], self.gamma[1]);
        let (min, max) = extent(&volume);
        // A constant patch is cut to [0, 1], as skimage's rescale_intensity does.
        Ok(match max > min {
            true => floats::map(volume, |x| ((x - min) / (max - min)).powf(gamma)),
            false => floats::map(volume, |x| x.clamp(0.0, 1.0).powf(gamma)),
        })
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        Ok(floats::output_shape(input))
    }
}
