//! Which patch sizes a network can take, known before anything runs.

use super::spec::{Architecture, NetworkSpec};

/// A patch that the network cannot take.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct PatchError(String);

const AXES: [&str; 3] = ["z", "y", "x"];

impl NetworkSpec {
    /// Checks that a patch (D, H, W) goes through the network and comes out with
    /// its own size.
    pub fn check_patch(&self, patch: [usize; 3]) -> Result<(), PatchError> {
        for axis in 0..3 {
            let size = patch[axis] as i64;
            if let Err(reason) = self.check_axis(size, axis) {
                let next = |direction: i64| {
                    (1..=4096)
                        .map(|step| size + direction * step)
                        .take_while(|size| *size > 0)
                        .find(|size| self.check_axis(*size, axis).is_ok())
                };
                let cure = match (next(-1), next(1)) {
                    (Some(low), Some(high)) => {
                        format!("the next sizes that do are {low} and {high}")
                    }
                    (None, Some(high)) => format!("the next size that does is {high}"),
                    (Some(low), None) => format!("the next size that does is {low}"),
                    (None, None) => "no size does with this model".to_string(),
                };
                return Err(PatchError(format!(
                    "{size} voxels along {} do not fit the network ({reason}); {cure}",
                    AXES[axis]
                )));
            }
        }
        Ok(())
    }

    fn check_axis(&self, size: i64, axis: usize) -> Result<(), String> {
        let residual = self.architecture == Architecture::ResidualUNet3D;
        let (kernel, pool) = (self.conv_kernel[axis], self.pool_kernel[axis]);
        let per_conv = 2 * self.conv_padding[axis] + 1 - kernel;
        let convs = if residual { 3 } else { 2 };
        let convolve = |size: i64, level: usize| {
            let size = size + convs * per_conv;
            if size < 1 { Err(format!("nothing is left of it at level {level}")) } else { Ok(size) }
        };
        let mut sizes = Vec::new();
        let mut current = size;
        for level in 0..self.f_maps.len() {
            if level > 0 {
                current /= pool;
                if current < 1 {
                    return Err(format!("nothing is left of it to pool at level {level}"));
                }
            }
            current = convolve(current, level)?;
            sizes.push(current);
        }
        sizes.pop();
        for (level, skip) in sizes.into_iter().enumerate().rev() {
            if residual {
                // A transposed convolution of stride 2 reaches two sizes.
                let low = (current - 1) * 2 - 2 + kernel;
                if !(low..low + 2).contains(&skip) {
                    return Err(format!(
                        "level {level} has {skip}, which {current} below cannot be doubled to"
                    ));
                }
            }
            current = convolve(skip, level)?;
        }
        if current == size {
            Ok(())
        } else {
            Err(format!("it comes out with {current}; `conv_padding` should be half the kernel"))
        }
    }

    /// Bytes of float32 activations that a training step keeps for a patch
    /// (D, H, W) of a batch of one; an estimate for messages and `check`.
    pub fn activation_bytes(&self, patch: [usize; 3]) -> u64 {
        let mut total = 0u64;
        let mut voxels = patch.iter().product::<usize>() as u64;
        let factor = self.pool_kernel.iter().product::<i64>() as u64;
        let units = self.conv_channels();
        let per_block = if self.architecture == Architecture::ResidualUNet3D { 3 } else { 2 };
        let levels = self.f_maps.len();
        let mut level_voxels = Vec::new();
        for _ in 0..levels {
            level_voxels.push(voxels);
            voxels /= factor;
        }
        for (index, (input, output)) in units.into_iter().enumerate() {
            let block = index / per_block;
            let level = if block < levels { block } else { 2 * levels - 2 - block };
            let mut channels = input + output;
            // Skip connection and upsampled maps are copied side by side.
            let joins = index % per_block == 0 && block >= levels;
            if joins && self.architecture != Architecture::ResidualUNet3D {
                channels += input;
            }
            total += 4 * level_voxels[level] * channels as u64;
        }
        total + 4 * patch.iter().product::<usize>() as u64 * 2 * self.out_channels as u64
    }
}
