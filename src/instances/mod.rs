//! From probabilities to objects: regions, how they are cut, and their tables.
//!
//! By default as ANTSUN does it with SegmentationTools.jl: regions of the voxels
//! above a threshold, and a watershed for those that fall apart at a higher one.

mod boundary;
mod cut;
mod foreground;
pub mod naming;
mod plan;
mod planes;
mod segment;

pub use foreground::Strange;
pub use plan::{Boundary, Flooding, Foreground, Height, InstancesPlan, Level, Split};
pub use planes::{Difference, InMemory, Planes, slabs};
pub use segment::{Input, SeedImage, Segmentation, segment};
