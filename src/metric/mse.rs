//! Mean squared error.

use anyhow::Result;
use tch::{Kind, Tensor};

use crate::loss::Target;

use super::parameters::NAME;
use super::{Entry, Metric};

pub(super) static ENTRY: Entry = Entry {
    name: "MSE",
    meaning: "mean over voxels and channels of (p - t)^2",
    parameters: &[NAME],
    uses_weight: false,
    target: Target::LikeLogits { float: false },
    check: |_, _| Ok(()),
    build: |_| Ok(Box::new(MeanSquaredError)),
};

struct MeanSquaredError;

impl Metric for MeanSquaredError {
    fn score(&self, found: &Tensor, target: &Tensor, _: Option<&Tensor>) -> Result<Option<f64>> {
        Ok(Some(mean_squared_error(found, target)?))
    }
}

/// The mean of squared differences, added up in float64.
pub(super) fn mean_squared_error(found: &Tensor, target: &Tensor) -> Result<f64> {
    let target = target.f_to_kind(found.f_kind()?)?;
    Ok(found.f_sub(&target)?.f_square()?.f_mean(Kind::Double)?.f_double_value(&[])?)
}
