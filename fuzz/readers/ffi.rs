//! What the formats need of `ffi`, without the parts that need libtorch.

#[path = "../../src/ffi/hdf5.rs"]
pub mod hdf5;
