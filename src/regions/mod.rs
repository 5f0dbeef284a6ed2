//! Regions of label images: connected components, and tables of how much the
//! regions of two images share.
//!
//! Everything here works on arrays (D, H, W) in memory. Metrics and instance
//! segmentation build on it.

mod components;
mod contingency;
mod label_image;

pub use components::{Components, Connectivity, components};
pub use contingency::{Contingency, Overlap};
pub use label_image::LabelImage;
