//! Blocks and U-Nets.
//!
//! State-dict names and shapes are those of the reference, so that checkpoints
//! pass both ways. Layers have a `forward` that returns `Result`: running out of
//! GPU memory is an event to handle, not a panic.

mod block;
mod conv;
mod geometry;
mod init;
mod layer;
mod norm;
mod spec;
mod state;
mod unet;
mod weights;

pub use geometry::PatchError;
pub use spec::{Architecture, NetworkSpec, PARAMETERS};
pub use state::{Layout, Parameter, StateError};
pub use unet::{Activation, UNet};
pub use weights::{from_tensor, to_tensor};
