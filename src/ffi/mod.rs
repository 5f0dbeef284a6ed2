//! The only `unsafe`: raw HDF5 chunks, tensor memory without a copy, and the
//! C++ shim for what tch does not bind.

pub mod hdf5;
pub mod loss;
pub mod tensor;
