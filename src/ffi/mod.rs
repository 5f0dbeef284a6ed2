//! The only module with `unsafe`: raw HDF5 chunks, tensor memory without a copy, and C++
//! functions that tch does not bind.

pub mod group;
pub mod hdf5;
pub mod loss;
pub mod script;
pub mod tensor;
