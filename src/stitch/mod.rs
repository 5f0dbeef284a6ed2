//! Patch outputs into a volume: halo, blending, averaging.
//!
//! Patches stand on a grid, so everything that tells how much a patch counts at
//! a voxel is a product over the three axes. [`Tiling`] keeps, for each patch of
//! each axis, its normalised weights along that axis; [`Sums`] adds patch
//! outputs times the product of their weights. The sum is the average already:
//! no volume of counts, no second pass, and as patches come z-slowest, x-fastest,
//! a row of patches makes voxels final that no later one reaches: they can be
//! written at once.

mod sums;
mod tiling;

pub use sums::{FinishedBlock, Sums};
pub use tiling::{AxisTiling, Blending, BlockTiling, Segment, Tiling, TilingError};
