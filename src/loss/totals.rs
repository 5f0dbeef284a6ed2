//! From the sums of a part of a batch to those of the whole.

use anyhow::Result;
use tch::Tensor;

/// What brings the parts of a batch together: those of several accumulated batches, and
/// those of several ranks.
///
/// A loss is not a mean of the losses of parts. What it sums over voxels is summed over all
/// parts first, and every part then computes its share of the loss from these totals. The
/// shares add up to the loss of the whole batch, and their gradients to its gradient.
pub trait Totals {
    /// The sums over all parts of what is `local` in this one, with its shape, type and
    /// device. The gradient flows to `local`.
    ///
    /// # Errors
    /// A failed tensor operation, or a part that cannot be reached.
    fn join(&mut self, local: Tensor) -> Result<Tensor>;

    /// Whether this is the first part of the batch.
    fn is_first(&self) -> bool;

    /// This part's share of a scalar that all parts compute alike from totals: the whole of
    /// it for the first part and 0 for others. The gradient is that of `value` for each.
    ///
    /// # Errors
    /// A failed tensor operation.
    fn share(&self, value: Tensor) -> Result<Tensor> {
        match self.is_first() {
            true => Ok(value),
            false => Ok(value.f_sub(&value.f_detach()?)?),
        }
    }
}

/// A batch in one part, whose sums are the totals.
pub struct Whole;

impl Totals for Whole {
    fn join(&mut self, local: Tensor) -> Result<Tensor> {
        Ok(local)
    }

    fn is_first(&self) -> bool {
        true
    }
}

/// `total`, through which the gradient flows to `local`, the addend of this part.
///
/// # Errors
/// A failed tensor operation.
pub fn with_gradient_of(total: &Tensor, local: &Tensor) -> Result<Tensor> {
    let total = total.f_detach()?;
    if !local.requires_grad() {
        return Ok(total);
    }
    Ok(local.f_sub(&local.f_detach()?)?.f_add(&total)?)
}

/// What a loss joins with other parts of its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Elements of each tensor that is joined, in order.
    pub lengths: Vec<usize>,
    /// Whether the sums depend on the logits. If not, they are known before the network
    /// has computed anything.
    pub of_logits: bool,
}

impl Joined {
    /// One number, which depends on labels and weights alone: what a mean divides by.
    pub fn divisor() -> Self {
        Joined { lengths: vec![1], of_logits: false }
    }

    /// One tensor of `length` sums that depend on the logits.
    pub fn sums(length: usize) -> Self {
        Joined { lengths: vec![length], of_logits: true }
    }
}
