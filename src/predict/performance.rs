//! What `predictor.performance_metric` says: how what is written agrees with a ground
//! truth in the input file.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use ndarray::ArrayView4;

use crate::format;
use crate::volume::{VolumeReader, Window};
use crate::with_values;

/// How a result is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// 2 |A ∩ B| / (ΣA + ΣB) for each index of the first axis: each plane of a
    /// segmentation.
    Dice,
    /// |A ∩ B| / |A ∪ B| of each class but 0.
    MeanIou { classes: usize },
}

/// The keys `performance_metric` and `gt_internal_path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerformanceSpec {
    pub measure: Measure,
    /// Name of the volume with the ground truth within the input file.
    pub truth: String,
}

/// The comparison of one result, which comes box by box.
pub struct Performance {
    measure: Measure,
    truth: Arc<dyn VolumeReader>,
    /// For each class or index: voxels of both, and the denominator.
    sums: Vec<(u64, u64)>,
}

impl Performance {
    /// Opens the ground truth for a result (C, D, H, W), or (D, H, W) without channels.
    ///
    /// # Errors
    /// A volume that is missing, or of another shape.
    pub fn open(spec: &PerformanceSpec, input: &Path, shape: &[usize]) -> Result<Self> {
        let truth = format::open(input, &spec.truth)?;
        if truth.shape() != shape {
            bail!(
                "{}: `{}`, the ground truth of `performance_metric`, is {:?}, and what is written \
                 {shape:?}; they must have the same shape",
                input.display(),
                spec.truth,
                truth.shape()
            );
        }
        let count = match spec.measure {
            Measure::Dice => shape[0],
            Measure::MeanIou { classes } => classes.saturating_sub(1),
        };
        Ok(Performance { measure: spec.measure, truth, sums: vec![(0, 0); count] })
    }

    /// Adds a box of what is written, (C, d, h, W), whose first voxel is at `corner`
    /// (channel, z, y).
    pub fn add(&mut self, corner: [usize; 3], block: ArrayView4<'_, f32>) -> Result<()> {
        let [channel, z, y] = corner;
        let (channels, depth, height, width) = block.dim();
        let window = Window::new([z, y, 0], [depth, height, width]);
        let channels: Range<usize> = channel..channel + channels;
        let truth = self.truth.read_part(channels, &window, 1)?;
        let by_channel = self.truth.has_channels();
        with_values!(&truth.values, a => {
            for (index, found) in block.indexed_iter() {
                let (c, d, _, _) = index;
                // Both are cast to uint16, as numpy casts them.
                let (truth, found) = (a[index] as i64 as u16, *found as i64 as u16);
                match self.measure {
                    Measure::Dice => {
                        let first = if by_channel { channel + c } else { z + d };
                        let (both, sum) = &mut self.sums[first];
                        *both += u64::from(truth != 0 && found != 0);
                        *sum += u64::from(truth) + u64::from(found);
                    }
                    Measure::MeanIou { .. } => {
                        for class in [truth, found] {
                            if let Some((both, either)) =
                                usize::from(class).checked_sub(1).and_then(|i| self.sums.get_mut(i))
                            {
                                if truth != found {
                                    *either += 1;
                                } else {
                                    *both += 1;
                                    *either += 1;
                                    break;
                                }
                            }
                        }
                    }
                }
            }
        });
        Ok(())
    }

    /// The measure of each class or index; NaN where there is neither.
    pub fn finish(&self) -> Vec<f64> {
        let factor = match self.measure {
            Measure::Dice => 2.0,
            Measure::MeanIou { .. } => 1.0,
        };
        self.sums.iter().map(|(both, all)| factor * *both as f64 / *all as f64).collect()
    }
}
