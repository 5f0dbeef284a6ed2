//! Patch outputs into a volume: halo, blending, averaging.
//!
//! Patches stand on a grid, so everything that tells how much a patch counts at
//! a voxel is a product over the three axes. [`Plan`] keeps, for each patch of
//! each axis, its normalised weights along that axis; [`Slab`] adds patch
//! outputs times the product of their weights. The sum is the average already:
//! no volume of counts, no second pass, and as patches come z-slowest, planes
//! that no later patch reaches are final and can be written at once.

mod plan;
mod slab;

pub use plan::{AxisPlan, Blending, Plan, PlanError, Segment};
pub use slab::Slab;
