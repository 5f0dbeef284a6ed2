//! The families of networks that `model.name` chooses from, one a file: adding one adds a
//! file here and a line to [`NETWORKS`].

mod residual_unet3d;
mod unet2d;
mod unet3d;
mod upstream;

use super::family::{Family, SHARED, UPSTREAM_SHARED};
use crate::config::{Dialects, Parameter, Registry};

/// All families of networks.
pub static NETWORKS: Dialects<Registry<Family>> = Dialects {
    fork: registry(&[&unet3d::FAMILY, &residual_unet3d::FAMILY, &unet2d::FAMILY], SHARED),
    upstream: registry(
        &[
            &upstream::UNET3D,
            &upstream::RESIDUAL_UNET3D,
            &upstream::RESIDUAL_UNET_SE3D,
            &upstream::UNET2D,
            &upstream::RESIDUAL_UNET2D,
        ],
        UPSTREAM_SHARED,
    ),
};

const fn registry(
    entries: &'static [&'static Family],
    shared: &'static [Parameter],
) -> Registry<Family> {
    let name = Parameter::text("name", "", "the network").required();
    Registry { kind: "network", name, entries, shared, refused: &[] }
}
