//! Which device, volumes to tensors, and kinds of failure.

mod choose;
mod failure;
mod precision;
mod tensors;

pub use choose::{choose, describe};
pub use failure::{Failure, failure};
pub use precision::{Kinds, Precision};
pub use tensors::{stack, stack_indices, to_tensor};
