//! The residual 3D U-Net.

use std::sync::Arc;

use crate::config::Parameter;

use super::super::family::{Anatomy, CONV_KERNEL_SIZE, Family, POOL_KERNEL_SIZE};
use super::super::join::TransposedSum;
use super::super::layer::LETTERS;
use super::super::residual_block::ResidualBlock;

/// [Lee et al. 2017](https://arxiv.org/abs/1706.00120).
pub static FAMILY: Family = Family {
    name: "ResidualUNet3D",
    meaning: "residual blocks, transposed convolutions and summation; 5 levels unless told \
              otherwise",
    parameters: &[
        CONV_KERNEL_SIZE,
        POOL_KERNEL_SIZE,
        Parameter::per_axis("conv_padding", &[1, 1, 1], "accepted, unused: it is always 1"),
    ],
    levels: 5,
    anatomy: |section| {
        Ok(Anatomy {
            block: Arc::new(ResidualBlock),
            join: Arc::new(TransposedSum),
            kernel: section.per_axis("conv_kernel_size"),
            // The reference's residual block takes no padding of its own.
            padding: [1, 1, 1],
            pool: section.per_axis("pool_kernel_size"),
            planar: false,
            letters: LETTERS,
            leaky_slope: 0.1,
        })
    },
};
