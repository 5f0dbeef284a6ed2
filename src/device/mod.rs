//! Choice of the device, conversion of volumes to tensors, precision, and kinds of failures.

mod choose;
mod failure;
mod precision;
mod tensors;

pub use choose::{DEVICE, DeviceWish, choose, describe, total_memory};
pub use failure::{Failure, failure};
pub use precision::{Kinds, PRECISION, Precision};
pub use tensors::{find_not_finite, stack, stack_indices, to_tensor};
