//! Metrics of squared differences: their mean, and the peak signal-to-noise ratio.

use anyhow::{Result, ensure};
use tch::{Kind, TchError, Tensor};

use crate::target::{LabelForm, Labels, Weights};

use super::{MetricEntry, Scorer};

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
    fn score(&self, found: &Tensor, labels: &Labels, _: Option<&Weights>) -> Result<Option<f64>> {
        Ok(Some(mean_squared_error(found, &labels.dense(found.f_kind()?)?)?))
    }
}

impl Scorer for PeakSignalToNoise {
    fn score(&self, found: &Tensor, labels: &Labels, _: Option<&Weights>) -> Result<Option<f64>> {
        let labels = labels.dense(found.f_kind()?)?;
        let (least, largest) = labels.f_aminmax(None, false)?;
        let (least, largest) = (least.f_double_value(&[])?, largest.f_double_value(&[])?);
        ensure!(
            least >= -1.0 && largest <= 1.0,
            "PSNR is defined for labels from -1 to 1, and these reach from {least} to {largest}: \
             put `Normalize` into the label transforms of this phase"
        );
        let range = if least >= 0.0 { 1.0f64 } else { 2.0 };
        Ok(Some(10.0 * (range * range / mean_squared_error(found, &labels)?).log10()))
    }
}

/// The mean of squared differences, added up in float64.
fn mean_squared_error(found: &Tensor, labels: &Tensor) -> Result<f64, TchError> {
    let labels = labels.f_to_kind(found.f_kind()?)?;
    found.f_sub(&labels)?.f_square()?.f_mean(Kind::Double)?.f_double_value(&[])
}
