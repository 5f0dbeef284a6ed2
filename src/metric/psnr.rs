//! Peak signal-to-noise ratio.

use anyhow::{Result, ensure};
use tch::Tensor;

use crate::loss::Target;

use super::mse::mean_squared_error;
use super::parameters::NAME;
use super::{Entry, Metric};

pub(super) static ENTRY: Entry = Entry {
    name: "PSNR",
    meaning: "peak signal-to-noise ratio in decibels, over the whole batch",
    parameters: &[NAME],
    uses_weight: false,
    target: Target::LikeLogits { float: true },
    check: |_, _| Ok(()),
    build: |_| Ok(Box::new(PeakSignalToNoise)),
};

/// scikit-image's `peak_signal_noise_ratio` of floating-point images,
/// `10 log10(range² / MSE)`: the range is 1 for a target without negative
/// numbers, else 2. Infinite when nothing differs.
struct PeakSignalToNoise;

impl Metric for PeakSignalToNoise {
    fn score(&self, found: &Tensor, target: &Tensor, _: Option<&Tensor>) -> Result<Option<f64>> {
        let (least, largest) = target.f_aminmax(None, false)?;
        let (least, largest) = (least.f_double_value(&[])?, largest.f_double_value(&[])?);
        ensure!(
            least >= -1.0 && largest <= 1.0,
            "PSNR is defined for labels from -1 to 1, and these reach from {least} to {largest}: \
             put `Normalize` into the label transforms of this phase"
        );
        let range = if least >= 0.0 { 1.0f64 } else { 2.0 };
        Ok(Some(10.0 * (range * range / mean_squared_error(found, target)?).log10()))
    }
}
