//! Which device, volumes to tensors, and kinds of failure.

mod choose;
mod failure;
mod tensors;

pub use choose::{choose, describe};
pub use failure::{Failure, failure};
pub use tensors::{Precision, stack, stack_indices, to_tensor};
