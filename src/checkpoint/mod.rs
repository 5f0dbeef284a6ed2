//! The `.pytorch` format, read and written, and weights as other programs store
//! them.
//!
//! A checkpoint is a pickle (a small program that builds Python objects) and
//! the raw numbers of its tensors, in a zip archive (torch 1.6 and later) or one
//! after the other (before that). [`File::open`] interprets the pickle: a handful of
//! names become data, nothing is ever executed, and objects of other names become
//! [`PickleValue::Opaque`]. Tensors stay in the file until [`Tensor::data`] reads
//! them. [`Checkpoint`] is the typed state of a training run, [`read_model_state`]
//! reads the weights of any file. [`write`] writes a [`PickleValue`] as a file that
//! `torch.load` reads; a failure during writing leaves the previous file unchanged.

mod error;
mod file;
mod form;
mod legacy;
mod objects;
mod optimizer;
mod pickle;
mod safetensors;
mod source;
mod state;
mod tensor;
mod unpickle;
mod value;
mod weights;
mod write;

pub use error::CheckpointError;
pub use file::{File, sha256};
pub use form::{Form, form};
pub use optimizer::{Group, OptimizerState, ParameterState};
pub use state::Checkpoint;
pub use tensor::{DType, Tensor, TensorData};
pub use value::PickleValue;
pub use weights::{read_model_state, strip_prefixes};
pub use write::{copy_file, remove_leftovers, write};
