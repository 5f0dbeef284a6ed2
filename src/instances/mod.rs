//! From probabilities to objects: regions, how they are cut, and their tables.
//!
//! By default as ANTSUN does it with SegmentationTools.jl: regions of the voxels
//! above a threshold, and a watershed for those that fall apart at a higher one.

pub mod antsun;
mod boundary;
mod boundary_blocks;
mod cut;
mod foreground;
mod images;
mod label_scratch;
mod measure;
pub mod naming;
pub mod partners;
mod plan;
mod planes;
mod preview;
mod recipe;
mod segment;
mod write;

pub use foreground::Strange;
pub use images::{Channel, probability_scale};
pub use measure::{Intensity, RegionTable, intensities};
pub use plan::{Boundary, Flooding, Foreground, Height, InstancesPlan, Level, Split};
pub use planes::{Difference, Held, InMemory, Planes, slabs};
pub use preview::preview;
pub use recipe::{Recipe, ResultFiles};
pub use segment::{Input, SeedImage, Segmentation, segment};
pub use write::{Finished, LABEL_FORMATS, LabelFile, label_image, lines};
