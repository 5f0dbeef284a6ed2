//! Resampling of whole volumes, of any element type and number of channels.

use anyhow::{Result, ensure};
use ndarray::Array4;

use super::Size;
use super::map::Map;
use super::median::{median, median_of};
use super::sample::{self, Border};
use super::spline::{Coefficients, PAD};
use crate::config::Parameter;
use crate::map_values;
use crate::volume::{Values, Volume};

/// How a volume is interpolated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resampling {
    /// Order of the spline: 0 nearest, 1 linear, 2 or 3.
    pub order: usize,
    pub border: Border,
    pub fill: Fill,
}

impl Resampling {
    /// The key `interpolator` of the transforms that ITK defines.
    pub const INTERPOLATOR: Parameter = Parameter::choice(
        "interpolator",
        "linear",
        &["linear", "nn", "bspline"],
        "linear, nn (nearest, for labels) or bspline (of order 3)",
    );

    /// ITK's interpolator of that name.
    pub fn itk(interpolator: &str, fill: Fill) -> Self {
        let order = match interpolator {
            "nn" => 0,
            "bspline" => 3,
            _ => 1,
        };
        Resampling { order, border: Border::Itk, fill }
    }
}

/// The value of points outside the volume.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    Value(f64),
    /// The median of all channels together.
    Median,
    /// Each channel's own median.
    ChannelMedian,
}

/// A voxel type, with the rules for converting interpolated values to it.
trait Voxel: Copy {
    fn to_f64(self) -> f64;
    /// Like scipy: rounds to the nearest integer, halves away from zero, clamped to the range.
    fn rounded(value: f64) -> Self;
    /// Like ITK: clamped to the range, then truncated.
    fn truncated(value: f64) -> Self;
}

macro_rules! voxel {
    (float: $($float:ty),*; integer: $($integer:ty),*) => {
        $(impl Voxel for $float {
            fn to_f64(self) -> f64 { f64::from(self) }
            fn rounded(value: f64) -> Self { value as $float }
            fn truncated(value: f64) -> Self { value as $float }
        })*
        $(impl Voxel for $integer {
            fn to_f64(self) -> f64 { self as f64 }
            // The cast from float to integer saturates.
            fn rounded(value: f64) -> Self { value.round() as $integer }
            fn truncated(value: f64) -> Self { value as $integer }
        })*
    };
}
voxel!(float: f32, f64; integer: u8, u16, i32, i64);

/// Computes every voxel of the result from the point of `volume` that `map` gives.
///
/// Interpolation is in float32. The minimum of other types is subtracted first, so that large
/// numbers do not lose precision; integers are rounded like the library whose border rule
/// applies.
///
/// # Errors
/// A channel of 2^31 voxels or more.
pub fn resample(volume: Volume, resampling: Resampling, map: &mut dyn Map) -> Result<Volume> {
    let size = volume.size();
    // Offsets into a channel with its padding have 32 bits.
    let padded: usize = size.iter().map(|&n| n.saturating_add(2 * PAD)).product();
    ensure!(
        padded < 1 << 31,
        "a patch of {}×{}×{} voxels is too large to be deformed; take a `patch_shape` of less than \
         2^31 voxels",
        size[0],
        size[1],
        size[2]
    );
    let has_channels = volume.has_channels;
    let values = match volume.values {
        Values::F32(array) => Values::F32(floats(array, size, resampling, map)),
        Values::F64(array) => Values::F64(others(array, size, resampling, map)),
        Values::U8(array) => Values::U8(others(array, size, resampling, map)),
        Values::U16(array) => Values::U16(others(array, size, resampling, map)),
        Values::I32(array) => Values::I32(others(array, size, resampling, map)),
        Values::I64(array) => Values::I64(others(array, size, resampling, map)),
    };
    Ok(Volume { values, has_channels })
}

/// Resamples every slice of `volume` with the same map, that of a volume (1, H, W). The plan is
/// computed once, and interpolation stays within slices.
///
/// # Errors
/// A slice of 2^31 voxels or more.
pub fn resample_slices(
    volume: Volume,
    resampling: Resampling,
    map: &mut dyn Map,
) -> Result<Volume> {
    let ([depth, height, width], channels) = (volume.size(), volume.channels());
    let has_channels = volume.has_channels;
    let reshaped = |values: Values, shape: (usize, usize, usize, usize)| {
        map_values!(values, array => {
            let array = if array.is_standard_layout() {
                array
            } else {
                array.as_standard_layout().into_owned()
            };
            array.into_shape_with_order(shape).expect("as many voxels as before")
        })
    };
    // In a contiguous volume, slices and channels can be treated alike.
    let slices = reshaped(volume.values, (channels * depth, 1, height, width));
    let slices = Volume { values: slices, has_channels: true };
    let slices = resample(slices, resampling, map)?;
    let values = reshaped(slices.values, (channels, depth, height, width));
    Ok(Volume { values, has_channels })
}

fn floats(
    array: Array4<f32>,
    size: Size,
    resampling: Resampling,
    map: &mut dyn Map,
) -> Array4<f32> {
    let array = array.as_standard_layout();
    let input = array.as_slice().expect("standard layout is contiguous");
    let voxels: usize = size.iter().product();
    let mut whole = None;
    let mut fill = |channel: usize| match resampling.fill {
        Fill::Value(value) => value as f32,
        Fill::Median => *whole.get_or_insert_with(|| median(input)),
        Fill::ChannelMedian => median(&input[channel * voxels..][..voxels]),
    };
    let mut output = vec![0.0; input.len()];
    interpolate(input, size, resampling, map, &mut fill, &mut output);
    Array4::from_shape_vec(array.dim(), output).expect("as many voxels as before")
}

/// Interpolates (C, D, H, W) float32.
fn interpolate(
    input: &[f32],
    size: Size,
    resampling: Resampling,
    map: &mut dyn Map,
    fill: sample::Fill<'_, f32>,
    output: &mut [f32],
) {
    let Resampling { order, border, .. } = resampling;
    match order {
        0 => sample::nearest(input, size, border, map, fill, output),
        1 => sample::linear(input, size, border, map, fill, output),
        _ => {
            let voxels: usize = size.iter().product();
            let coefficients: Vec<Coefficients> = input
                .chunks_exact(voxels.max(1))
                .map(|channel| Coefficients::of(channel, size, order, border.extension()))
                .collect();
            sample::spline(&coefficients, size, order, border, map, fill, output);
        }
    }
}

fn others<T: Voxel>(
    array: Array4<T>,
    size: Size,
    resampling: Resampling,
    map: &mut dyn Map,
) -> Array4<T> {
    let array = array.as_standard_layout();
    let input = array.as_slice().expect("standard layout is contiguous");
    let voxels: usize = size.iter().product();
    let mut whole = None;
    let mut fill = |channel: usize| match resampling.fill {
        Fill::Value(value) => value,
        Fill::Median => *whole.get_or_insert_with(|| median_of(input, T::to_f64)),
        Fill::ChannelMedian => median_of(&input[channel * voxels..][..voxels], T::to_f64),
    };
    let store = match resampling.border {
        Border::Itk => T::truncated,
        Border::Reflect | Border::Constant => T::rounded,
    };
    let output = if resampling.order == 0 {
        let mut output = input.to_vec();
        let mut fill = |channel: usize| store(fill(channel));
        sample::nearest(input, size, resampling.border, map, &mut fill, &mut output);
        output
    } else {
        let low = input.iter().map(|&value| value.to_f64()).fold(f64::INFINITY, f64::min);
        let shifted: Vec<f32> = input.iter().map(|&value| (value.to_f64() - low) as f32).collect();
        let mut fill = |channel: usize| (fill(channel) - low) as f32;
        let mut output = vec![0.0; input.len()];
        interpolate(&shifted, size, resampling, map, &mut fill, &mut output);
        output.into_iter().map(|value| store(f64::from(value) + low)).collect()
    };
    Array4::from_shape_vec(array.dim(), output).expect("as many voxels as before")
}
