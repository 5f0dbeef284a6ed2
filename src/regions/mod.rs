//! Regions of label images: connected components, watershed, distances and maxima,
//! and tables of how much the regions of two images share.
//!
//! Everything here works on arrays (D, H, W) in memory. Metrics and instance
//! segmentation build on it.

mod components;
mod connectivity;
mod contingency;
mod distance;
mod label_image;
pub mod maxima;
pub mod runs;
pub mod watershed;

pub use components::{Components, components};
pub use connectivity::Connectivity;
pub use contingency::{Contingency, Overlap};
pub use distance::distance_to;
pub use label_image::LabelImage;
pub use runs::{Region, Run, Runs};
pub use watershed::{Flood, QueueRule};
