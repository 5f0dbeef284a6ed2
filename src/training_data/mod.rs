//! From labelled images to `raw`, `label` and `weight`.
//!
//! An expert paints a part of the voxels of an image with four labels; a network
//! that tells foreground from background wants 0 or 1 at each voxel and a weight
//! that says how much the voxel counts. [`Weighting`] holds that definition,
//! [`read_image`] reads what microscopes and annotation programs write, and
//! [`pair`] finds which label belongs to which image.

mod image;
mod pairs;
mod weighting;
mod write;

pub use image::read_image;
pub use pairs::{Pair, pair};
pub use weighting::{Labelled, Weighting};
pub use write::write;
