//! What `skip_last_target`, `squeeze_channel` and `ignore_index` do to a batch
//! before the loss proper sees it.

use anyhow::Result;
use tch::Tensor;

use super::{Criterion, Truth, Weights};

/// A loss that sees part of the target.
pub(super) struct Prepared {
    pub(super) inner: Box<dyn Criterion>,
    /// Drops the last channel of the target.
    pub(super) skip_last: bool,
    /// Drops the channel axis of what remains if it is one channel.
    pub(super) squeeze: bool,
    /// Multiplies logits and target by (target ≠ label).
    pub(super) mask: Option<i64>,
}

impl Criterion for Prepared {
    fn forward(&self, logits: &Tensor, target: &Tensor, weight: Option<&Tensor>) -> Result<Tensor> {
        let mut target = target.shallow_clone();
        if self.skip_last {
            let channels = target.size()[1];
            target = target.f_narrow(1, 0, channels - 1)?;
            if self.squeeze {
                target = target.f_squeeze_dim(1)?;
            }
        }
        let Some(ignore) = self.mask else {
            return self.inner.forward(logits, &target, weight);
        };
        let kept = target.f_ne(ignore)?;
        let target = target.f_mul(&kept)?;
        let kept = if kept.dim() == 4 { kept.f_unsqueeze(1)? } else { kept };
        self.inner.forward(&logits.f_mul(&kept)?, &target, weight)
    }
    fn forward_compact(
        &self,
        logits: &Tensor,
        truth: &Truth,
        weights: Option<&Weights>,
    ) -> Result<Tensor> {
        // One-hot labels are made of ones and zeros: no other label masks any.
        let unmasked = self.mask.is_none_or(|ignore| ignore != 0 && ignore != 1);
        if !self.skip_last && unmasked && matches!(truth, Truth::OneHot { .. }) {
            return self.inner.forward_compact(logits, truth, weights);
        }
        let weight = weights.map(Weights::dense).transpose()?;
        self.forward(logits, &truth.dense(logits.f_kind()?)?, weight.as_ref())
    }
}
