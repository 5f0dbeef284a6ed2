//! `RandomContrast`: stretches intensities about a mean.

use anyhow::Result;

use super::stream::RandomSource;
use super::{
    ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape, floats,
};
use crate::config::Parameter;
use crate::volume::{Values, Volume};

pub(super) static ENTRY: TransformEntry = TransformEntry {
    name: "RandomContrast",
    class: TransformClass::Intensity,
    meaning: "clip(μ + α (x − μ), −1, 1) with α uniform in `alpha`, drawn for each channel.",
    parameters: &[
        Parameter::numbers("alpha", &[0.5, 1.5], "range of α").of_length(2),
        Parameter::number("mean", 0.0, "μ; the mean of the file's raw data if absent").optional(),
        Parameter::flag("use_data_mean", false, "μ is the channel's own mean"),
        Parameter::probability("execution_probability", 0.1, "how often it acts"),
    ],
    build: |section| {
        let alpha = section.numbers("alpha");
        Ok(Box::new(RandomContrast {
            alpha: [alpha[0], alpha[1]],
            mean: section.maybe_number("mean"),
            use_data_mean: section.flag("use_data_mean"),
            execution_probability: section.number("execution_probability"),
        }))
    },
};

/// Draws whether it is applied, then α for each channel.
struct RandomContrast {
    alpha: [f64; 2],
    mean: Option<f64>,
    use_data_mean: bool,
    execution_probability: f64,
}

impl Transform for RandomContrast {
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume> {
        let mut stream = context.stream();
        let mut volume = floats::convert(volume);
        if !stream.chance(self.execution_probability) {
            return Ok(volume);
        }
        macro_rules! stretch {
            ($array:expr, $type:ty) => {
                for mut channel in $array.outer_iter_mut() {
                    let alpha = stream.between(self.alpha[0], self.alpha[1]);
                    let mean = if self.use_data_mean {
                        floats::mean(channel.as_slice().expect("volumes are contiguous"))
                    } else {
                        self.mean.unwrap_or(context.statistics.mean)
                    };
                    channel.mapv_inplace(|x| {
                        (mean + alpha * (f64::from(x) - mean)).clamp(-1.0, 1.0) as $type
                    });
                }
            };
        }
        match &mut volume.values {
            Values::F32(array) => stretch!(array, f32),
            Values::F64(array) => stretch!(array, f64),
            _ => unreachable!("the volume was converted"),
        }
        Ok(volume)
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        Ok(floats::output_shape(input))
    }
}
