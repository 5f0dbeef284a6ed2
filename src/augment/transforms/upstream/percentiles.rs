//! `PercentileNormalizer`: maps the range between two percentiles of the patch to [0, 1].

use anyhow::Result;

use super::{
    CHANNELWISE, EPS, ShapeError, Transform, TransformClass, TransformContext, TransformEntry,
    VolumeShape, floats, map_parts,
};
use crate::config::Parameter;
use crate::volume::Volume;
use crate::with_values;

pub(in super::super) static ENTRY: TransformEntry = TransformEntry {
    name: "PercentileNormalizer",
    class: TransformClass::Conversion,
    meaning: "(x − P(pmin)) / (P(pmax) − P(pmin) + eps) with percentiles of the patch, without \
              clipping.",
    parameters: &[
        Parameter::number("pmin", 1.0, "lower percentile").within(0.0, 100.0),
        Parameter::number("pmax", 99.6, "upper percentile").within(0.0, 100.0),
        CHANNELWISE,
        EPS,
    ],
    build: |section| {
        Ok(Box::new(Percentiles {
            ends: [section.number("pmin"), section.number("pmax")],
            channelwise: section.flag("channelwise"),
            eps: section.number("eps"),
        }))
    },
};

struct Percentiles {
    ends: [f64; 2],
    channelwise: bool,
    eps: f64,
}

impl Percentiles {
    fn map(&self, mut values: Vec<f64>) -> impl Fn(f64) -> f64 + use<> {
        let [low, high] = self.ends.map(|percent| percentile(&mut values, percent));
        let divisor = high - low + self.eps;
        move |x| (x - low) / divisor
    }
}

impl Transform for Percentiles {
    fn apply(&self, volume: Volume, _: &TransformContext<'_>) -> Result<Volume> {
        if self.channelwise {
            return Ok(map_parts(volume, |values| self.map(values.to_vec())));
        }
        let values = with_values!(&volume.values, a => a.iter().map(|&x| x as f64).collect());
        Ok(floats::map(volume, self.map(values)))
    }

    fn output_shape(&self, input: VolumeShape) -> Result<VolumeShape, ShapeError> {
        Ok(floats::output_shape(input))
    }
}

/// A percentile as `numpy.percentile` finds it, linear between two values. The values
/// change their order.
fn percentile(values: &mut [f64], percent: f64) -> f64 {
    let place = percent / 100.0 * (values.len() - 1) as f64;
    let below = place.floor() as usize;
    let (_, &mut low, above) = values.select_nth_unstable_by(below, f64::total_cmp);
    let high = above.iter().copied().fold(f64::INFINITY, f64::min);
    let share = place - below as f64;
    // From the nearer of the two, as numpy rounds.
    match share {
        0.0 => low,
        share if share >= 0.5 => high - (high - low) * (1.0 - share),
        share => low + (high - low) * share,
    }
}

#[cfg(test)]
mod tests {
    use super::percentile;

    // The values are what numpy.percentile gives.
    #[test]
    fn percentiles_lie_between_values() {
        let mut values = [3.0, 1.0, 4.0, 2.0, 10.0];
        assert_eq!(percentile(&mut values, 0.0), 1.0);
        assert_eq!(percentile(&mut values, 50.0), 3.0);
        assert_eq!(percentile(&mut values, 90.0), 7.600_000_000_000_000_5);
        assert_eq!(percentile(&mut values, 100.0), 10.0);
        assert_eq!(percentile(&mut [7.0], 99.6), 7.0);
    }
}
