//! From labelled images to `raw`, `label` and `weight`.
//!
//! An expert paints a part of the voxels of an image with four labels; a network
//! that tells foreground from background wants 0 or 1 at each voxel and a weight
//! that says how much the voxel counts. [`Weighting`] holds that definition,
//! [`read_image`] reads what microscopes and annotation programs write, and
//! [`pair`] finds which label belongs to which image. Where every cell has a number
//! instead, [`painted`] derives the four labels.

mod cells;
mod image;
mod pairs;
mod weighting;
mod write;

pub use cells::{lost, painted};
pub use image::{Image, read_image, read_labels};
pub use pairs::{Pair, images, pair};
pub use weighting::{Labelled, Weighting};
pub use write::write;
