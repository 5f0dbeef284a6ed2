//! What must stay within a bound of memory, hostile files among it. Tests here run one
//! after another: they measure the whole process.

#[path = "../support/mod.rs"]
mod support;

mod checkpoint;
mod hostile_checkpoint;
mod hostile_hdf5;
mod transforms;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;
