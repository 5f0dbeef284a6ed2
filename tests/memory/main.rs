//! Limits of memory, with malicious files among others. The tests of this binary run one
//! after the other, because they measure the whole process.

#[path = "../support/mod.rs"]
mod support;

mod checkpoint;
mod hostile_checkpoint;
mod hostile_hdf5;
mod transforms;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;
