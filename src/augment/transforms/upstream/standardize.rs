//! `Standardize`: zero mean, unit standard deviation.

use anyhow::Result;

use super::{
    CHANNELWISE, EPS, ShapeError, Transform, TransformClass, TransformContext, TransformEntry,
    VolumeShape, floats, map_parts,
};
use crate::augment::StatisticsOf;
use crate::config::Parameter;
use crate::volume::{Statistics, Volume};

pub(in super::super) static ENTRY: TransformEntry = TransformEntry {
    name: "Standardize",
    class: TransformClass::Conversion,
    meaning: "(x − mean) / max(std, eps), with mean and population standard deviation of the \
              patch, or of the file with `loaders.global_normalization`.",
    parameters: &[
        EPS,
        Parameter::number("mean", 0.0, "given together with `std`, in place of the patch's")
            .optional(),
        Parameter::number("std", 1.0, "given together with `mean`").at_least(0.0).optional(),
        CHANNELWISE,
    ],
    build: |section| {
        let given = match (section.maybe_number("mean"), section.maybe_number("std")) {
            (Some(mean), Some(std)) => Some((mean, std)),
            (None, None) => None,
            (Some(_), None) => return Err(section.error("mean", "`std` belongs to it")),
            (None, Some(_)) => return Err(section.error("std", "`mean` belongs to it")),
        };
        Ok(Box::new(Standardize {
            given,
            eps: section.number("eps"),
            channelwise: section.flag("channelwise"),
        }))
    },
};

struct Standardize {
    /// Mean and standard deviation.
    given: Option<(f64, f64)>,
    eps: f64,
    channelwise: bool,
}

impl Standardize {
    fn map(&self, (mean, std): (f64, f64)) -> impl Fn(f64) -> f64 + use<> {
        let divisor = std.max(self.eps);
        move |x| (x - mean) / divisor
    }
}

impl Transform for Standardize {
    fn apply(&self, volume: Volume, context: &TransformContext<'_>) -> Result<Volume> {
        let file = (context.statistics_of == StatisticsOf::File)
            .then_some((context.statistics.mean, context.statistics.std));
        if let Some(moments) = self.given.or(file) {
            return Ok(floats::map(volume, self.map(moments)));
        }
        if self.channelwise {
            return Ok(map_parts(volume, |values| self.map(moments(values))));
        }
        let Statistics { mean, std, .. } = Statistics::of(&volume)?;
        Ok(floats::map(volume, self.map((mean, std))))
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        Ok(floats::output_shape(input))
    }
}

/// Mean and population standard deviation.
fn moments(values: &[f64]) -> (f64, f64) {
    let mean = floats::mean(values);
    let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
    (mean, (squares / values.len() as f64).sqrt())
}
