//! Which patch sizes a network can take, known before anything runs.

use super::block::Side;
use super::family::Anatomy;
use super::spec::NetworkSpec;

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

    fn check_axis(&self, length: i64, axis: usize) -> Result<(), String> {
        let Anatomy { block, join, pool, .. } = &self.anatomy;
        let mut skips = Vec::new();
        let mut current = length;
        for stage in self.stages() {
            let level = stage.level;
            match stage.side {
                Side::Encoder if level == 0 => {}
                Side::Encoder => {
                    current /= pool[axis];
                    if current < 1 {
                        return Err(format!("nothing is left of it to pool at level {level}"));
                    }
                }
                Side::Decoder => {
                    let skip = skips[level];
                    if !join.reaches(current, skip, axis, &self.unit) {
                        return Err(format!(
                            "level {level} has {skip}, which {current} below cannot be doubled to"
                        ));
                    }
                    current = skip;
                }
            }
            current = block.length(stage.side, current, axis, &self.unit);
            if current < 1 {
                return Err(format!("nothing is left of it at level {level}"));
            }
            if stage.side == Side::Encoder {
                skips.push(current);
            }
        }
        if current == length {
            Ok(())
        } else {
            Err(format!("it comes out with {current}; `conv_padding` should be half the kernel"))
        }
    }

    /// Bytes of float32 feature maps that a training step keeps for a patch
    /// (D, H, W) of a batch of one; an estimate for messages and `check`.
    pub fn activation_bytes(&self, patch: [usize; 3]) -> u64 {
        let Anatomy { block, join, pool, .. } = &self.anatomy;
        let patch = patch.iter().fold(1u64, |voxels, &n| voxels.saturating_mul(n as u64));
        let per_level = pool.iter().fold(1u64, |voxels, &n| voxels.saturating_mul(n as u64));
        let mut values = patch.saturating_mul(2 * self.out_channels as u64);
        for stage in self.stages() {
            let mut voxels = patch;
            for _ in 0..stage.level {
                voxels /= per_level;
            }
            let units = block.units(stage.side, stage.channels).into_iter();
            let mut channels: i64 = units.map(|(input, output)| input + output).sum();
            if let Some((skip, below)) = stage.joined {
                channels += join.kept_channels(skip, below);
            }
            values = values.saturating_add(voxels.saturating_mul(channels as u64));
        }
        values.saturating_mul(4)
    }

    /// Bytes of the float32 weights of the convolutions, from the settings alone: close
    /// to those of the whole network, and never more.
    pub fn weight_bytes(&self) -> u64 {
        let kernel = self.unit.kernel.iter().fold(1u64, |size, &n| size.saturating_mul(n as u64));
        let pairs = self
            .stages()
            .into_iter()
            .flat_map(|stage| self.anatomy.block.units(stage.side, stage.channels).into_iter());
        let pairs = pairs.map(|(input, output)| (input as u64).saturating_mul(output as u64));
        let weights = pairs.fold(0u64, |sum, pair| sum.saturating_add(pair.saturating_mul(kernel)));
        let last = (self.f_maps[0] as u64).saturating_mul(self.out_channels as u64);
        weights.saturating_add(last).saturating_mul(4)
    }
}
