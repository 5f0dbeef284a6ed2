//! Feature maps that a block reads, whole or a few planes at a time.
//!
//! At the full size of a patch, feature maps are what a prediction needs memory for: in a
//! U-Net most of all those that a decoder joins, which are three times the encoder's. When
//! nothing is trained, they are joined, normalized and convolved some planes at a time, so
//! that only what goes in and what comes out is ever there as a whole.

use std::ops::Range;

use tch::{Device, Kind, TchError, Tensor};

/// Bytes of feature maps that are worked on at a time.
const SLAB_BYTES: i64 = 128 << 20;

/// Planes that are worked on at a time, at least: those at the ends are read twice.
const FEWEST_PLANES: i64 = 8;

/// Voxels from which on a convolution joins maps itself.
const MANY: i64 = 1 << 14;

/// Feature maps (N, C, D, H, W).
pub enum Maps {
    Whole(Tensor),
    Joined(Joined),
}

/// An encoder's feature maps side by side with those of the level below, brought to the
/// same size: what `torch.cat` of both gives, a few planes at a time.
pub struct Joined {
    /// (1, C, D, H, W).
    skip: Tensor,
    /// (1, C', d, h, w).
    below: Tensor,
}

impl From<Tensor> for Maps {
    fn from(tensor: Tensor) -> Self {
        Maps::Whole(tensor)
    }
}

impl Maps {
    /// `skip` (N, C, D, H, W), then `below` brought to its size as
    /// `torch.nn.functional.interpolate` does with `nearest`.
    pub fn joined(skip: Tensor, below: Tensor) -> Self {
        Maps::Joined(Joined { skip, below })
    }

    /// (N, C, D, H, W).
    pub fn size(&self) -> Vec<i64> {
        match self {
            Maps::Whole(tensor) => tensor.size(),
            Maps::Joined(Joined { skip, below }) => {
                let mut size = skip.size();
                size[1] += below.size()[1];
                size
            }
        }
    }

    /// Whether they are worth being worked on in slabs, or joined by the convolution: on the
    /// CPU, in float32, one patch at a time, whose voxels lie one after the other.
    pub fn suit_slabs(&self) -> Result<bool, TchError> {
        let tensors = match self {
            Maps::Whole(tensor) => vec![tensor],
            Maps::Joined(Joined { skip, below }) => vec![skip, below],
        };
        for tensor in tensors {
            if tensor.device() != Device::Cpu
                || tensor.f_kind()? != Kind::Float
                || !tensor.f_permute([0, 2, 3, 4, 1])?.is_contiguous()
            {
                return Ok(false);
            }
        }
        let size = self.size();
        let doubled = match self {
            Maps::Joined(joined) => {
                joined.is_doubled() && size[2..].iter().product::<i64>() >= MANY
            }
            Maps::Whole(_) => false,
        };
        Ok(size[0] == 1 && (doubled || slabs(&size).len() > 1))
    }

    /// One tensor.
    pub fn whole(self) -> Result<Tensor, TchError> {
        match self {
            Maps::Whole(tensor) => Ok(tensor),
            Maps::Joined(Joined { skip, below }) => {
                let below = below.f_upsample_nearest3d(&skip.size()[2..], None, None, None)?;
                Tensor::f_cat(&[skip, below], 1)
            }
        }
    }

    /// Some planes (1, C, n, H, W).
    pub fn planes(&self, planes: Range<i64>) -> Result<Tensor, TchError> {
        match self {
            Maps::Whole(tensor) => narrow_planes(tensor, planes),
            Maps::Joined(joined) => joined.planes(planes),
        }
    }

    /// Calls `each` with pieces (voxels, channels) of the maps as they lie in memory, with
    /// the channel of the first column, and how many voxels of the maps a voxel stands for.
    pub fn for_each_piece(
        &self,
        mut each: impl FnMut(&Tensor, i64, f64) -> Result<(), TchError>,
    ) -> Result<(), TchError> {
        match self {
            Maps::Whole(tensor) => each(&rows(tensor)?, 0, 1.0),
            Maps::Joined(joined) => {
                each(&rows(&joined.skip)?, 0, 1.0)?;
                joined.for_each_piece_below(each)
            }
        }
    }
}

/// Planes of maps (N, C, D, H, W).
pub fn narrow_planes(maps: &Tensor, planes: Range<i64>) -> Result<Tensor, TchError> {
    maps.f_narrow(2, planes.start, planes.end - planes.start)
}

/// (1, C, D, H, W), channels last, as (D·H·W, C).
fn rows(maps: &Tensor) -> Result<Tensor, TchError> {
    maps.f_permute([0, 2, 3, 4, 1])?.f_contiguous()?.f_view([-1, maps.size()[1]])
}

/// The planes into which maps of such a size (N, C, D, H, W), in float32, are cut; a single
/// slab if they are small.
pub fn slabs(size: &[i64]) -> Vec<Range<i64>> {
    let depth = size[2];
    let plane = size[1] * size[3] * size[4] * size_of::<f32>() as i64;
    let planes = (SLAB_BYTES / plane.max(1)).max(FEWEST_PLANES);
    let count = (depth / planes).max(1);
    (0..count).map(|slab| slab * depth / count..(slab + 1) * depth / count).collect()
}

impl Joined {
    /// Whether a voxel of the level below is a square of 2 × 2 of the joined planes.
    pub fn is_doubled(&self) -> bool {
        let [skip, below] = [&self.skip, &self.below].map(Tensor::size);
        (3..5).all(|axis| skip[axis] == 2 * below[axis])
    }

    /// The encoder's maps, and those of the level below as they are there.
    pub fn parts(&self) -> (&Tensor, &Tensor) {
        (&self.skip, &self.below)
    }

    /// Planes (1, C', n, h, w) of maps like those below, as the joined ones show them.
    pub fn planes_of(&self, below: &Tensor, planes: Range<i64>) -> Result<Tensor, TchError> {
        let size = below.size();
        let depth = self.skip.size()[2];
        let shape = [1, size[1], planes.end - planes.start, size[3], size[4]];
        let shown = empty_channels_last(shape, below)?;
        for (to, z) in planes.enumerate() {
            let source = below.f_narrow(2, nearest(z, size[2], depth), 1)?;
            shown.f_narrow(2, to as i64, 1)?.f_copy_(&source)?;
        }
        Ok(shown)
    }

    fn planes(&self, planes: Range<i64>) -> Result<Tensor, TchError> {
        let [skip, below] = [&self.skip, &self.below].map(Tensor::size);
        let (start, count) = (planes.start, planes.end - planes.start);
        let shape = [1, skip[1] + below[1], count, skip[3], skip[4]];
        let joined = empty_channels_last(shape, &self.skip)?;
        joined.f_narrow(1, 0, skip[1])?.f_copy_(&self.skip.f_narrow(2, start, count)?)?;
        let shown = self.planes_of(&self.below, planes)?;
        let shown = shown.f_upsample_nearest3d([count, skip[3], skip[4]], None, None, None)?;
        joined.f_narrow(1, skip[1], below[1])?.f_copy_(&shown)?;
        Ok(joined)
    }

    /// As [`Maps::for_each_piece`], of the maps of the level below.
    fn for_each_piece_below(
        &self,
        mut each: impl FnMut(&Tensor, i64, f64) -> Result<(), TchError>,
    ) -> Result<(), TchError> {
        let [skip, below] = [&self.skip, &self.below].map(Tensor::size);
        if (2..5).all(|axis| skip[axis] == 2 * below[axis]) {
            return each(&rows(&self.below)?, skip[1], 8.0);
        }
        for slab in slabs(&skip) {
            let maps = self.planes(slab)?.f_narrow(1, skip[1], below[1])?;
            each(&rows(&maps)?, skip[1], 1.0)?;
        }
        Ok(())
    }
}

/// An uninitialized tensor of `shape` (1, C, D, H, W) and the type of `like`, whose voxels
/// lie one after the other.
pub fn empty_channels_last(shape: [i64; 5], like: &Tensor) -> Result<Tensor, TchError> {
    let [n, c, d, h, w] = shape;
    Tensor::f_empty([n, d, h, w, c], (like.f_kind()?, Device::Cpu))?.f_permute([0, 4, 1, 2, 3])
}

/// The plane of `from` that plane `index` of `to` shows, as torch's `nearest` has it
/// (`nearest_idx` in `aten/src/ATen/native/UpSample.h`, whose scale is a float32).
fn nearest(index: i64, from: i64, to: i64) -> i64 {
    if from == to {
        return index;
    }
    if to == 2 * from {
        return index >> 1;
    }
    let scale = from as f32 / to as f32;
    ((index as f32 * scale).floor() as i64).min(from - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(shape: [i64; 5]) -> Tensor {
        let maps = empty_channels_last(shape, &Tensor::zeros([1], (Kind::Float, Device::Cpu)));
        maps.unwrap().uniform_(-1.0, 1.0)
    }

    #[test]
    fn planes_are_those_of_the_whole() {
        for (small, large) in
            [([3, 4, 2], [6, 8, 4]), ([3, 4, 2], [7, 9, 5]), ([5, 5, 5], [8, 5, 6])]
        {
            let [d, h, w] = small;
            let below = random([1, 3, d, h, w]);
            let [d, h, w] = large;
            let skip = random([1, 2, d, h, w]);
            let maps = Maps::joined(skip.shallow_clone(), below.shallow_clone());
            let whole = Maps::joined(skip, below).whole().unwrap();
            assert_eq!(maps.size(), whole.size());
            for start in 0..d {
                for end in start + 1..=d {
                    let planes = maps.planes(start..end).unwrap();
                    assert!(planes.equal(&whole.narrow(2, start, end - start)), "{start}..{end}");
                }
            }
        }
    }

    #[test]
    fn nearest_planes_are_torchs() {
        for from in 1..40 {
            for to in from..90 {
                let x = Tensor::arange(from, (Kind::Float, Device::Cpu)).view([1, 1, from, 1, 1]);
                let all = Vec::<f32>::try_from(
                    x.upsample_nearest3d([to, 1, 1], None, None, None).view([-1]),
                );
                let ours: Vec<f32> = (0..to).map(|z| nearest(z, from, to) as f32).collect();
                assert_eq!(all.unwrap(), ours, "{from} to {to}");
            }
        }
    }

    #[test]
    fn slabs_follow_each_other() {
        assert_eq!(slabs(&[1, 4, 30, 8, 8]), [0..30]);
        for depth in [8, 15, 16, 17, 100, 112] {
            let slabs = slabs(&[1, 96, depth, 512, 512]);
            assert_eq!(slabs.len() as i64, depth / FEWEST_PLANES);
            assert_eq!((slabs[0].start, slabs.last().unwrap().end), (0, depth));
            assert!(slabs.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
    }
}
