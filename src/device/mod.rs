//! Choice of the device, conversion of volumes to tensors, precision, memory format, and kinds of failures.

mod choose;
mod failure;
mod memory_format;
mod precision;
mod tensors;

pub use choose::{DEVICE, DeviceWish, choose, describe, total_memory};
pub use failure::{Failure, failure};
pub use memory_format::{FormatChoice, MEMORY_FORMAT, MemoryFormat, Purpose};
pub use precision::{Kinds, PRECISION, Precision};
pub use tensors::{find_not_finite, stack, stack_indices, to_tensor};
