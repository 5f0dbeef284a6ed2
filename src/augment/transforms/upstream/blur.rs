//! `GaussianBlur3D`: smooths with a gaussian.

use anyhow::Result;

use super::{
    ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape, floats,
    range,
};
use crate::augment::stream::RandomSource;
use crate::config::Parameter;
use crate::resample::gaussian::{Edge, Real, gaussian_filter};
use crate::volume::{Element, Values, Volume};

pub(in super::super) static ENTRY: TransformEntry = TransformEntry {
    name: "GaussianBlur3D",
    class: TransformClass::Intensity,
    meaning: "Smooths all axes, that of the channels included, with a gaussian whose standard \
              deviation is uniform in `sigma`; integers are divided by the largest one of their \
              type first.",
    parameters: &[
        Parameter::numbers("sigma", &[0.1, 2.0], "range of the standard deviation, in voxels")
            .at_least(0.0)
            .of_length(2),
        Parameter::probability("execution_probability", 0.5, "how often it acts"),
    ],
    build: |section| {
        Ok(Box::new(GaussianBlur {
            sigma: range(section, "sigma")?,
            execution_probability: section.number("execution_probability"),
        }))
    },
};

/// Draws whether it is applied, then the standard deviation.
struct GaussianBlur {
    sigma: [f64; 2],
    execution_probability: f64,
}

impl Transform for GaussianBlur {
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume> {
        let mut stream = context.stream();
        if !stream.chance(self.execution_probability) {
            return Ok(floats::convert(volume));
        }
        let sigma = stream.between(self.sigma[0], self.sigma[1]);
        let mut volume = match largest(volume.element()) {
            Some(largest) => floats::map(volume, |x| (x / largest).max(-1.0)),
            None => volume,
        };
        let (channels, size) = (volume.channels(), volume.size());
        let channels = if volume.has_channels { channels } else { 1 };
        match &mut volume.values {
            Values::F32(array) => filter(array.as_slice_mut(), channels, size, sigma),
            Values::F64(array) => filter(array.as_slice_mut(), channels, size, sigma),
            _ => unreachable!("integers were converted"),
        }
        Ok(volume)
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        Ok(floats::output_shape(input))
    }
}

/// The largest integer of a type, by which skimage divides; `None` for floats.
fn largest(element: Element) -> Option<f64> {
    match element {
        Element::U8 => Some(f64::from(u8::MAX)),
        Element::U16 => Some(f64::from(u16::MAX)),
        Element::I32 => Some(f64::from(i32::MAX)),
        Element::I64 => Some(i64::MAX as f64),
        Element::F32 | Element::F64 => None,
    }
}

fn filter<T: Real>(values: Option<&mut [T]>, channels: usize, size: [usize; 3], sigma: f64) {
    let values = values.expect("volumes are contiguous");
    let [depth, height, width] = size;
    if channels > 1 {
        let flat = [channels, depth * height, width];
        gaussian_filter(values, flat, [sigma, 0.0, 0.0], Edge::Nearest);
    }
    for channel in values.chunks_exact_mut((depth * height * width).max(1)) {
        gaussian_filter(channel, size, [sigma; 3], Edge::Nearest);
    }
}
