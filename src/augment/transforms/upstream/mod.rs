//! Transforms as `wolny/pytorch-3dunet` has them, where they differ from those of the
//! same name in the fork or are only there. One or one family a file.

pub(super) mod blur;
pub(super) mod contrast;
pub(super) mod crop;
pub(super) mod gamma;
pub(super) mod labels;
pub(super) mod normalize;
pub(super) mod percentiles;
pub(super) mod relabel;
pub(super) mod rgb;
pub(super) mod rotate;
pub(super) mod rotate90;
pub(super) mod standardize;
pub(super) mod tensor;

use super::{
    ShapeError, Transform, TransformClass, TransformContext, TransformEntry, VolumeShape, floats,
};
use crate::config::{ConfigError, Parameter, Section};
use crate::volume::{Values, Volume};
use crate::with_values;

const EPS: Parameter =
    Parameter::number("eps", 1e-10, "keeps the divisor from 0").within(0.0, f64::MAX);
const CHANNELWISE: Parameter = Parameter::flag(
    "channelwise",
    false,
    "each channel by itself; each plane of a volume without channels",
);

/// A range of random numbers, its lower end first.
fn range(section: &Section<'_>, key: &str) -> Result<[f64; 2], ConfigError> {
    let ends = section.numbers(key);
    if ends[0] > ends[1] {
        return Err(section.error(key, "the lower end of the range stands first"));
    }
    Ok([ends[0], ends[1]])
}

/// Least and greatest value of a volume.
fn extent(volume: &Volume) -> (f64, f64) {
    with_values!(&volume.values, a => {
        a.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), &x| {
            let x = x as f64;
            (if x < min { x } else { min }, if x > max { x } else { max })
        })
    })
}

/// Applies to each part along the first axis, channels or, without them, planes, the
/// function that `of` makes for the part's values.
fn map_parts<F: Fn(f64) -> f64>(volume: Volume, of: impl Fn(&[f64]) -> F) -> Volume {
    let parts = if volume.has_channels { volume.channels() } else { volume.size()[0] };
    let mut volume = floats::convert(volume);
    macro_rules! each {
        ($array:expr, $type:ty) => {{
            let values = $array.as_slice_mut().expect("volumes are contiguous");
            let length = values.len() / parts.max(1);
            for part in values.chunks_exact_mut(length.max(1)) {
                let wide: Vec<f64> = part.iter().map(|&x| f64::from(x)).collect();
                let function = of(&wide);
                for (x, wide) in part.iter_mut().zip(wide) {
                    *x = function(wide) as $type;
                }
            }
        }};
    }
    match &mut volume.values {
        Values::F32(array) => each!(array, f32),
        Values::F64(array) => each!(array, f64),
        _ => unreachable!("the volume was converted"),
    }
    volume
}
