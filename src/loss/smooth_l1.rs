//! Squared error below 1, absolute error above.

use anyhow::Result;
use tch::{Reduction, Tensor};

use super::parameters::{IGNORE_INDEX, NAME, SKIP_LAST_TARGET, SQUEEZE_CHANNEL};
use super::{Criterion, Entry, Target};

pub(super) static ENTRY: Entry = Entry {
    name: "SmoothL1Loss",
    meaning: "mean of (x - t)^2 / 2 where |x - t| < 1, else |x - t| - 1/2",
    parameters: &[NAME, IGNORE_INDEX, SKIP_LAST_TARGET, SQUEEZE_CHANNEL],
    uses_weight: false,
    masks: true,
    ignored_label: None,
    target: Target::LikeLogits { float: false },
    build: |_| Ok(Box::new(SmoothL1)),
};

struct SmoothL1;

impl Criterion for SmoothL1 {
    fn forward(&self, logits: &Tensor, target: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let target = target.f_to_kind(logits.f_kind()?)?;
        Ok(logits.f_smooth_l1_loss(&target, Reduction::Mean, 1.0)?)
    }
}
