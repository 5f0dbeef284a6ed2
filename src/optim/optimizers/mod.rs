//! One optimizer a file.

pub(super) mod adam;
pub(super) mod sgd;
