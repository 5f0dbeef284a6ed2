//! Where each patch of an axis counts, and how much.

use std::ops::Range;

const AXES: [&str; 3] = ["z", "y", "x"];

/// How patches that overlap are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blending {
    /// Every patch counts the same where its halo is not cut.
    Average,
    /// Weights fall off from the patch centre, sigma 1/8 of the patch.
    Gaussian,
    /// The halo is cut from every side, and the patch that comes last counts alone.
    Latest,
}

/// A grid of patches that leaves voxels without any.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TilingError {
    /// The patch is larger than the volume.
    #[error("{0}")]
    TooSmall(String),
    /// A voxel is in no patch once halos are cut.
    #[error("{0}")]
    Uncovered(String),
}

/// The part of a patch that counts along one axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Start of the patch in the (mirror-padded) volume.
    pub start: usize,
    /// Which of the patch's voxels are kept.
    pub keep: Range<usize>,
    /// Weight of each kept voxel; over all patches they sum to 1 at a voxel.
    pub weights: Vec<f32>,
}

impl Segment {
    /// Voxels of the volume that the kept part covers.
    pub fn covers(&self) -> Range<usize> {
        self.start + self.keep.start..self.start + self.keep.end
    }
}

/// The patches of one axis, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisTiling {
    pub segments: Vec<Segment>,
    /// Size of the padded volume.
    pub size: usize,
}

impl AxisTiling {
    fn new(
        axis: usize,
        size: usize,
        patch: usize,
        starts: &[usize],
        halo: usize,
        blending: Blending,
    ) -> Result<Self, TilingError> {
        let mut segments = Vec::new();
        let mut totals = vec![0f64; size];
        for (index, &start) in starts.iter().enumerate() {
            let keep = match blending {
                Blending::Latest => {
                    // Patches come with the last axis fastest, so that of the patches over a
                    // voxel the last one is the last along each axis.
                    let end = starts.get(index + 1).map_or(patch, |next| next - start + halo);
                    halo..end.min(patch - halo)
                }
                _ => {
                    let low = if start == 0 { 0 } else { halo };
                    let last = start + patch == size;
                    let high = if last { patch } else { patch.saturating_sub(halo) };
                    low..high.max(low)
                }
            };
            let weights: Vec<f64> = keep
                .clone()
                .map(|voxel| match blending {
                    Blending::Average | Blending::Latest => 1.0,
                    Blending::Gaussian => {
                        let sigma = patch as f64 / 8.0;
                        let offset = (voxel as f64 - (patch as f64 - 1.0) / 2.0) / sigma;
                        // The floor keeps voxels that only a corner of a patch
                        // reaches from being divided by nothing.
                        (-0.5 * offset * offset).exp().max(1e-6)
                    }
                })
                .collect();
            for (voxel, weight) in keep.clone().zip(&weights) {
                totals[start + voxel] += weight;
            }
            segments.push((start, keep, weights));
        }
        let inner = match blending {
            Blending::Latest => halo..size - halo,
            _ => 0..size,
        };
        if let Some(voxel) = inner.into_iter().find(|voxel| totals[*voxel] == 0.0) {
            let stride = starts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
            let (name, overlap) = (AXES[axis], patch as i64 - stride as i64);
            return Err(TilingError::Uncovered(format!(
                "no patch covers voxel {voxel} along {name} once a halo of {halo} is cut from patches \
                 of {patch} that overlap by {overlap}: reduce `predictor.patch_halo` to at most {} or \
                 `slice_builder.stride_shape` to at most {} along {name}",
                (overlap.max(0)) / 2,
                (patch as i64 - 2 * halo as i64).max(1),
            )));
        }
        let segments = segments
            .into_iter()
            .map(|(start, keep, weights)| {
                let weights = keep
                    .clone()
                    .zip(weights)
                    .map(|(voxel, weight)| (weight / totals[start + voxel]) as f32)
                    .collect();
                Segment { start, keep, weights }
            })
            .collect();
        Ok(AxisTiling { segments, size })
    }
}

/// The patches of a volume and how they are put together.
#[derive(Clone, Debug, PartialEq)]
pub struct Tiling {
    pub axes: [AxisTiling; 3],
    pub patch: [usize; 3],
    /// Mirror padding on each side, cut from the result.
    pub padding: [usize; 3],
}

impl Tiling {
    /// Tiles a padded volume of `size` (z, y, x), with patches that begin at
    /// `starts` along each axis, in rising order.
    ///
    /// # Errors
    /// If there is no patch, or a voxel stays uncovered.
    pub fn new(
        size: [usize; 3],
        patch: [usize; 3],
        starts: [Vec<usize>; 3],
        halo: [usize; 3],
        padding: [usize; 3],
        blending: Blending,
    ) -> Result<Self, TilingError> {
        let axes = [0, 1, 2].map(|axis| {
            if starts[axis].is_empty() {
                return Err(TilingError::TooSmall(format!(
                    "a patch of {} is larger than the volume, {} along {}: reduce \
                     `slice_builder.patch_shape`",
                    patch[axis], size[axis], AXES[axis]
                )));
            }
            AxisTiling::new(axis, size[axis], patch[axis], &starts[axis], halo[axis], blending)
        });
        let [z, y, x] = axes;
        Ok(Tiling { axes: [z?, y?, x?], patch, padding })
    }

    /// The part of the tiling that makes a box of the result: the patches that reach it,
    /// with what of them lies within. Every voxel gets the same patches with the same
    /// weights in the same order as in the whole.
    pub fn block(&self, origin: [usize; 3], size: [usize; 3]) -> BlockTiling {
        let mut numbers = [const { Vec::new() }; 3];
        let axes = [0, 1, 2].map(|axis| {
            let (padding, patch) = (self.padding[axis], self.patch[axis]);
            // In the padded volume.
            let wanted = origin[axis] + padding..origin[axis] + padding + size[axis];
            let mut segments = Vec::new();
            for (number, segment) in self.axes[axis].segments.iter().enumerate() {
                let covers = segment.covers();
                let from = covers.start.max(wanted.start);
                let end = covers.end.min(wanted.end);
                if from >= end {
                    continue;
                }
                numbers[axis].push(number);
                let weights = &segment.weights[from - covers.start..end - covers.start];
                segments.push(Segment {
                    // So much padding that no patch begins before the volume.
                    start: segment.start + patch - wanted.start,
                    keep: from - segment.start..end - segment.start,
                    weights: weights.to_vec(),
                });
            }
            AxisTiling { segments, size: size[axis] + 2 * patch }
        });
        BlockTiling { tiling: Tiling { axes, patch: self.patch, padding: self.patch }, numbers }
    }

    /// Whether one patch is the whole padded volume.
    pub fn is_one_patch(&self) -> bool {
        self.patch_count() == 1 && (0..3).all(|axis| self.axes[axis].size == self.patch[axis])
    }

    /// Number of a patch in the order of [`Tiling::patches`].
    pub fn number(&self, [z, y, x]: [usize; 3]) -> usize {
        let counts = [1, 2].map(|axis| self.axes[axis].segments.len());
        (z * counts[0] + y) * counts[1] + x
    }

    /// Size of the result (z, y, x), without padding.
    pub fn result_size(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.axes[axis].size - 2 * self.padding[axis])
    }

    pub fn patch_count(&self) -> usize {
        self.axes.iter().map(|axis| axis.segments.len()).product()
    }

    /// Indices of all patches along z, y, x: x fastest, z slowest.
    pub fn patches(&self) -> impl Iterator<Item = [usize; 3]> + use<> {
        let counts = [0, 1, 2].map(|axis| self.axes[axis].segments.len());
        (0..counts.iter().product()).map(move |index| {
            let (zy, x) = (index / counts[2], index % counts[2]);
            [zy / counts[1], zy % counts[1], x]
        })
    }

    /// Corner of a patch in the padded volume.
    pub fn corner(&self, patch: [usize; 3]) -> [usize; 3] {
        std::array::from_fn(|axis| self.axes[axis].segments[patch[axis]].start)
    }

    /// The voxel of the result, along an axis, before which no patch from `index`
    /// on counts.
    pub fn final_before(&self, axis: usize, index: usize) -> usize {
        let AxisTiling { segments, size } = &self.axes[axis];
        let first = segments[index..].iter().map(|s| s.covers().start).min().unwrap_or(*size);
        first.saturating_sub(self.padding[axis]).min(self.result_size()[axis])
    }

    /// One past the last plane of the result that patches of layer `z` reach.
    pub(super) fn planes_reached(&self, z: usize) -> usize {
        let end = self.axes[0].segments[z].start + self.patch[0];
        end.saturating_sub(self.padding[0]).min(self.result_size()[0])
    }

    /// The voxels of `patch` that count and lie inside the result, of those in
    /// planes `planes` of the patch; `None` if there are none.
    pub(super) fn inside(&self, patch: [usize; 3], planes: Range<usize>) -> Option<[Inside; 3]> {
        let result = self.result_size();
        let along = |axis: usize| {
            let (padding, segment) = (self.padding[axis], &self.axes[axis].segments[patch[axis]]);
            let mut from = segment.keep.start.max(padding.saturating_sub(segment.start));
            let mut end =
                segment.keep.end.min((padding + result[axis]).saturating_sub(segment.start));
            if axis == 0 {
                from = from.max(planes.start);
                end = end.min(planes.end);
            }
            let length = end.checked_sub(from).filter(|length| *length > 0)?;
            Some(Inside { from, to: segment.start + from - padding, length })
        };
        Some([along(0)?, along(1)?, along(2)?])
    }
}

/// The tiling of a box of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockTiling {
    pub tiling: Tiling,
    /// Which patches of the whole its patches are, along z, y and x.
    numbers: [Vec<usize>; 3],
}

impl BlockTiling {
    /// The patch of the whole that a patch of the box is.
    pub fn of_whole(&self, patch: [usize; 3]) -> [usize; 3] {
        [0, 1, 2].map(|axis| self.numbers[axis][patch[axis]])
    }
}

/// The voxels of a patch that count, along one axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inside {
    /// The first, in the patch's coordinates.
    pub from: usize,
    /// The same, in the result's coordinates.
    pub to: usize,
    pub length: usize,
}
