//! Metrics of squared differences: their mean, and the peak signal-to-noise ratio.

use anyhow::{Result, bail, ensure};
use tch::{Kind, TchError, Tensor};

use crate::target::{LabelForm, Labels, Weights};

use super::{MetricEntry, Scorer, mean};

pub(super) static MSE: MetricEntry = MetricEntry {
    name: "MSE",
    meaning: "mean over voxels and channels of (p - t)^2",
    parameters: &[],
    labels: LabelForm::LikeLogits { float: false },
    uses_weight: false,
    build: |_| Ok(Box::new(MeanSquaredError)),
};

pub(super) static PSNR: MetricEntry = MetricEntry {
    name: "PSNR",
    meaning: "peak signal-to-noise ratio in decibels, over the whole batch",
    parameters: &[],
    labels: LabelForm::LikeLogits { float: true },
    uses_weight: false,
    build: |_| Ok(Box::new(PeakSignalToNoise)),
};

/// The mean of squared differences.
struct MeanSquaredError;

/// scikit-image's `peak_signal_noise_ratio` of floating-point images,
/// `10 log10(range² / MSE)`: the range is 1 for a target without negative
/// numbers, else 2. Infinite when nothing differs.
struct PeakSignalToNoise;

impl Scorer for MeanSquaredError {
    fn sums(&self, found: &Tensor, labels: &Labels, _: Option<&Weights>) -> Result<Vec<f64>> {
        Ok(squared_errors(found, &labels.dense(found.f_kind()?)?)?.to_vec())
    }
}

impl Scorer for PeakSignalToNoise {
    /// Sum of squared differences, their number, and how many parts have a label below 0.
    fn sums(&self, found: &Tensor, labels: &Labels, _: Option<&Weights>) -> Result<Vec<f64>> {
        let labels = labels.dense(found.f_kind()?)?;
        let (least, largest) = labels.f_aminmax(None, false)?;
        let (least, largest) = (least.f_double_value(&[])?, largest.f_double_value(&[])?);
        ensure!(
            least >= -1.0 && largest <= 1.0,
            "PSNR is defined for labels from -1 to 1, and these reach from {least} to {largest}: \
             put `Normalize` into the label transforms of this phase"
        );
        let [sum, count] = squared_errors(found, &labels)?;
        Ok(vec![sum, count, if least >= 0.0 { 0.0 } else { 1.0 }])
    }

    fn value(&self, sums: &[f64]) -> Result<Option<f64>> {
        let &[_, _, negative] = sums else { bail!("PSNR follows from 3 sums") };
        let range = if negative == 0.0 { 1.0f64 } else { 2.0 };
        Ok(mean(sums).map(|error| 10.0 * (range * range / error).log10()))
    }

    fn length(&self, _: usize) -> usize {
        3
    }
}

/// The sum of squared differences in float64, and how many there are.
fn squared_errors(found: &Tensor, labels: &Tensor) -> Result<[f64; 2], TchError> {
    let labels = labels.f_to_kind(found.f_kind()?)?;
    let sum = found.f_sub(&labels)?.f_square()?.f_sum(Kind::Double)?.f_double_value(&[])?;
    Ok([sum, found.numel() as f64])
}
