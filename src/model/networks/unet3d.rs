//! The plain 3D U-Net.

use std::sync::Arc;

use super::super::double_conv::DoubleConv;
use super::super::family::{Anatomy, CONV_KERNEL_SIZE, CONV_PADDING, Family, POOL_KERNEL_SIZE};
use super::super::join::{InterpolatedConcatenation, Interpolation};
use super::super::layer::LETTERS;

/// [Çiçek et al. 2016](https://arxiv.org/abs/1606.06650), with nearest-neighbour
/// upsampling in place of transposed convolutions.
pub static FAMILY: Family = Family {
    name: "UNet3D",
    meaning: "double convolutions, nearest-neighbour upsampling and concatenation; 4 levels \
              unless told otherwise",
    parameters: &[CONV_KERNEL_SIZE, POOL_KERNEL_SIZE, CONV_PADDING],
    levels: 4,
    anatomy: |section| {
        Ok(Anatomy {
            block: Arc::new(DoubleConv::PLAIN),
            join: Arc::new(InterpolatedConcatenation(Interpolation::Nearest)),
            kernel: section.per_axis("conv_kernel_size"),
            padding: section.per_axis("conv_padding"),
            pool: section.per_axis("pool_kernel_size"),
            planar: false,
            letters: LETTERS,
            leaky_slope: 0.1,
        })
    },
};
