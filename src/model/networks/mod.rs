//! The families of networks that `model.name` chooses from, one a file: adding one adds a
//! file here and a line to [`NETWORKS`].

mod residual_unet3d;
mod unet2d;
mod unet3d;

use super::family::{Family, SHARED};
use crate::config::{Parameter, Registry};

/// All families of networks.
pub static NETWORKS: Registry<Family> = Registry {
    kind: "network",
    name: Parameter::text("name", "", "the network").required(),
    entries: &[&unet3d::FAMILY, &residual_unet3d::FAMILY, &unet2d::FAMILY],
    shared: SHARED,
    refused: &[],
};
