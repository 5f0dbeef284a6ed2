//! The U-Net of single planes.

use std::sync::Arc;

use crate::config::Parameter;

use super::super::double_conv::DoubleConv;
use super::super::family::{Anatomy, CONV_PADDING, Family};
use super::super::join::{InterpolatedConcatenation, Interpolation};
use super::super::layer::LETTERS;

/// [Ronneberger et al. 2015](https://arxiv.org/abs/1505.04597), with zero padding.
pub static FAMILY: Family = Family {
    name: "UNet2D",
    meaning: "`UNet3D` with kernels that do not reach across z; 4 levels unless told otherwise",
    parameters: &[
        Parameter::per_axis("conv_kernel_size", &[1, 3, 3], "accepted, unused: always [1, 3, 3]")
            .at_least(1.0),
        Parameter::per_axis("pool_kernel_size", &[1, 2, 2], "accepted, unused: always [1, 2, 2]")
            .at_least(1.0),
        CONV_PADDING,
    ],
    levels: 4,
    anatomy: |section| {
        Ok(Anatomy {
            block: Arc::new(DoubleConv::PLAIN),
            join: Arc::new(InterpolatedConcatenation(Interpolation::Nearest)),
            kernel: [1, 3, 3],
            padding: match section.per_axis("conv_padding") {
                // A padding of one number, as for 3D networks, is meant within the plane.
                [1, 1, 1] => [0, 1, 1],
                padding => padding,
            },
            pool: [1, 2, 2],
            planar: false,
            letters: LETTERS,
            leaky_slope: 0.1,
        })
    },
};
