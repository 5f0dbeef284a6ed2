//! The only `unsafe`: raw HDF5 chunks, tensor memory, the C++ shim.
