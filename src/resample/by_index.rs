//! Resampling of volumes that are stored as one index per voxel.
//!
//! With nearest-neighbour interpolation, a voxel of the output has the channels of one voxel of
//! the input, or the fill value in all channels. Resampling the indices is therefore equivalent
//! to resampling every channel.

use anyhow::Result;
use ndarray::Array4;

use super::sample::Border;
use super::volume::{Fill, Resampling};
use crate::volume::{OneHot, Palette, Values, Volume, Voxels};

/// Resamples a volume in its compact form with `resample`, which takes a dense volume and an
/// interpolation. Falls back on the dense volume where indices cannot represent the result.
pub fn by_index(
    volume: Voxels,
    resampling: Resampling,
    resample: impl FnOnce(Volume, Resampling) -> Result<Volume>,
) -> Result<Voxels> {
    match volume {
        Voxels::OneHot(label) if resampling.order == 0 && leaves_zeros(resampling) => {
            let indices = moved(label.indices, OneHot::NONE, resampling, resample)?;
            Ok(Voxels::OneHot(OneHot { indices, ..label }))
        }
        Voxels::Palette(mut palette) if resampling.order == 0 => {
            match outside(&mut palette, resampling) {
                Some(outside) => {
                    let indices = moved(palette.indices, outside, resampling, resample)?;
                    Ok(Voxels::Palette(Palette { indices, ..palette }))
                }
                None => Ok(Voxels::Dense(resample(palette.expand(), resampling)?)),
            }
        }
        volume => Ok(Voxels::Dense(resample(volume.expand(), resampling)?)),
    }
}

/// Resamples indices; `outside` is the index for points outside the volume.
fn moved(
    indices: Array4<u16>,
    outside: u16,
    resampling: Resampling,
    resample: impl FnOnce(Volume, Resampling) -> Result<Volume>,
) -> Result<Array4<u16>> {
    let fill = Fill::Value(f64::from(outside));
    match resample(Volume::plain(indices), Resampling { fill, ..resampling })?.values {
        Values::U16(indices) => Ok(indices),
        _ => unreachable!("resampling keeps the type"),
    }
}

/// Whether no class is set outside.
fn leaves_zeros(resampling: Resampling) -> bool {
    resampling.border == Border::Reflect || resampling.fill == Fill::Value(0.0)
}

/// The row of the table for points outside the volume.
fn outside(palette: &mut Palette, resampling: Resampling) -> Option<u16> {
    match resampling.fill {
        // No point is outside.
        _ if resampling.border == Border::Reflect => Some(0),
        // scipy rounds to integers; ITK and the cast truncate.
        Fill::Value(value) if resampling.border == Border::Itk || palette.element().is_float() => {
            palette.row_of(value)
        }
        Fill::Value(value) => palette.row_of(value.round()),
        Fill::Median | Fill::ChannelMedian => None,
    }
}
