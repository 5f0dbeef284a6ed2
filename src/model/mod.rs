//! Blocks and U-Nets.
//!
//! [`NETWORKS`] lists the families that a configuration can name, one a file. A
//! family says which kind of [block](block) its levels are made of and how its
//! decoders [join](join) them; everything else is the same for all of them: the
//! [`NetworkSpec`] with the arithmetic of sizes, and the [`UNet`] itself.
//!
//! State-dict names and shapes are those of the reference, so that checkpoints
//! pass both ways. Layers have a `forward` that returns `Result`: running out of
//! GPU memory is an event to handle, not a panic.

mod block;
mod conv;
mod double_conv;
mod family;
mod geometry;
mod graph;
mod join;
mod layer;
mod maps;
mod networks;
mod norm;
mod res_net_block;
mod residual_block;
mod spec;
mod state;
mod trial;
mod unet;
mod weights;

pub use family::{Anatomy, Family};
pub use geometry::PatchError;
pub use graph::{Function, Graph, Instruction, Value};
pub use join::Interpolation;
pub use networks::NETWORKS;
pub use spec::{CLASS_NAMES, NetworkSpec};
pub use state::{NamedParameter, StateError};
pub use trial::choose_format;
pub use unet::{Activation, UNet};
pub use weights::{from_tensor, to_tensor};
