//! Choice of the device, conversion of volumes to tensors, precision, and kinds of failures.

mod choose;
mod failure;
mod precision;
mod tensors;

pub use choose::{choose, describe};
pub use failure::{Failure, failure};
pub use precision::{Kinds, Precision};
pub use tensors::{stack, stack_indices, to_tensor};
