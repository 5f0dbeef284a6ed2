//! File formats of volumes, one a module.

pub mod h5;
