//! The `.pytorch` format, read and written.
//!
//! A checkpoint is a pickle (a small program that builds Python objects) and
//! the raw numbers of its tensors, in a zip archive (torch 1.6 and later) or one
//! after the other (before that). [`File::open`] runs the pickle on a machine
//! that knows a handful of names and turns them into data; nothing is ever
//! called, and a name it does not know is an error. Tensors stay in the file
//! until [`Tensor::data`] asks for them. [`Checkpoint`] is what a training run
//! stores, with types; [`write`] puts any [`PickleValue`] into a file that `torch.load`
//! reads, and no failure in the midst of writing harms the file it replaces.

mod error;
mod file;
mod legacy;
mod objects;
mod optimizer;
mod pickle;
mod source;
mod state;
mod tensor;
mod unpickle;
mod value;
mod write;

pub use error::CheckpointError;
pub use file::{File, sha256};
pub use optimizer::{Group, OptimizerState, ParameterState};
pub use state::{Checkpoint, read_model_state, strip_module_prefix};
pub use tensor::{DType, Tensor, TensorData};
pub use value::PickleValue;
pub use write::{copy_file, remove_leftovers, write};
