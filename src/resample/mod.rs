//! Resampling and filtering of volumes, single-threaded.
//!
//! Two libraries define the transforms, `scipy.ndimage` and ITK, and their rules at the border
//! differ. The functions of this module follow one of them by name.
//!
//! - [`map`]: the source of each voxel of the output, one row at a time. A map never
//!   stores a field of coordinates: rows are cheap to compute, and a field would take three
//!   times the memory of the patch.
//! - `plan`: the voxels and weights for such a row, by the rules at the border.
//! - [`sample`]: nearest, linear and spline interpolation along such rows.
//! - [`spline`]: B-spline weights and the filter that turns voxels into
//!   spline coefficients.
//! - [`bspline`]: ITK's B-spline transform after an affine one.
//! - [`modes`]: smooth random fields as sums of cosines.
//! - [`gaussian`]: separable gaussian filter.
//! - [`median`]: the median, which is the default value outside the volume.
//! - [`grid`]: volumes with voxels of another size, window by window.
//! - [`by_index`]: resampling of volumes in their compact forms.
//! - [`volume`]: the same for whole [`crate::volume::Volume`]s of any type.
//!
//! Hot loops are compiled for several instruction sets and chosen at run time.
//! They use no fused multiply-add and no reordered sums, so that every machine
//! computes the same bits.

pub mod bspline;
pub mod by_index;
pub mod gaussian;
pub mod grid;
pub mod map;
pub mod median;
pub mod modes;
mod plan;
pub mod sample;
pub mod spline;
pub mod volume;

/// Depth, height, width.
pub type Size = [usize; 3];

/// The voxel at index `i` of a volume extended by `scipy.ndimage`'s `reflect`: the edge is
/// repeated (`d c b a | a b c d | d c b a`).
pub fn reflect_index(i: isize, n: usize) -> usize {
    let period = 2 * n as isize;
    let i = i.rem_euclid(period);
    (if i < n as isize { i } else { period - 1 - i }) as usize
}

/// The voxel at index `i` of a volume extended by `scipy.ndimage`'s `mirror` (numpy's `reflect`):
/// the edge is not repeated (`d c b | a b c d | c b a`).
pub fn mirror_index(i: isize, n: usize) -> usize {
    if n == 1 {
        return 0;
    }
    let period = 2 * n as isize - 2;
    let i = i.rem_euclid(period);
    (if i < n as isize { i } else { period - i }) as usize
}
