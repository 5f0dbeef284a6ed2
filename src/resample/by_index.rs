//! Resampling of volumes that are held as an index for each voxel.
//!
//! Where the nearest voxel is taken, a voxel of the output has the channels of
//! one voxel of the input, or the fill value in all of them: moving the indices
//! says the same as moving every channel.

use anyhow::Result;
use ndarray::Array4;

use super::sample::Border;
use super::volume::{Fill, Resampling};
use crate::volume::{OneHot, Palette, Values, Volume, Voxels};

/// Resamples a volume in the form it is held in with `resample`, which takes a
/// dense volume and how to interpolate it. Falls back on the dense volume where
/// indices cannot say what comes out.
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

/// Resamples indices; `outside` is the index of what lies outside.
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

/// The row of the table for what lies outside.
fn outside(palette: &mut Palette, resampling: Resampling) -> Option<u16> {
    match resampling.fill {
        // Nothing lies outside.
        _ if resampling.border == Border::Reflect => Some(0),
        // scipy rounds to integers, ITK and the cast cut off.
        Fill::Value(value) if resampling.border == Border::Itk || palette.element().is_float() => {
            palette.row_of(value)
        }
        Fill::Value(value) => palette.row_of(value.round()),
        Fill::Median | Fill::ChannelMedian => None,
    }
}
