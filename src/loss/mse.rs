//! Mean squared error.

use anyhow::Result;
use tch::{Reduction, Tensor};

use super::parameters::{IGNORE_INDEX, NAME, SKIP_LAST_TARGET, SQUEEZE_CHANNEL};
use super::{Criterion, Entry, Target};

pub(super) static ENTRY: Entry = Entry {
    name: "MSELoss",
    meaning: "mean over voxels and channels of (x - t)^2",
    parameters: &[NAME, IGNORE_INDEX, SKIP_LAST_TARGET, SQUEEZE_CHANNEL],
    uses_weight: false,
    masks: true,
    ignored_label: None,
    target: Target::LikeLogits { float: true },
    build: |_| Ok(Box::new(MeanSquaredError)),
};

struct MeanSquaredError;

impl Criterion for MeanSquaredError {
    fn forward(&self, logits: &Tensor, target: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let target = target.f_to_kind(logits.f_kind()?)?;
        Ok(logits.f_mse_loss(&target, Reduction::Mean)?)
    }
}
