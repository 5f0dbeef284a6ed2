//! How much memory a run takes, told before any is taken.

use anyhow::{Result, bail};
use log::{info, warn};
use tch::Device;

use crate::device::total_memory;
use crate::predict::PredictionPlan;
use crate::train::TrainingPlan;

const GIB: f64 = (1u64 << 30) as f64;

/// What a run takes on its device, in bytes.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// `training` or `prediction`.
    what: &'static str,
    batch: usize,
    patch: Option<[usize; 3]>,
    /// Of the weights alone.
    weights: u64,
    /// About.
    all: u64,
    /// Certainly.
    least: u64,
}

impl Estimate {
    /// Training keeps all feature maps, and four numbers a weight: itself, its gradient
    /// and two of the optimizer.
    pub fn training(plan: &TrainingPlan) -> Self {
        let (weights, activations) = (plan.learner.network.weight_bytes(), plan.activation_bytes());
        Estimate {
            what: "training",
            batch: plan.data.batch_size(),
            patch: plan.data.patch(),
            weights,
            all: activations.saturating_add(weights.saturating_mul(4)),
            // In half precision, and without a state of the optimizer.
            least: (activations / 2).saturating_add(weights.saturating_mul(2)),
        }
    }

    /// Prediction keeps the skip connections and what one block works on.
    pub fn prediction(plan: &PredictionPlan) -> Self {
        let (network, patch) = (&plan.network, plan.tiling.grid.patch);
        let (weights, activations) = (network.weight_bytes(), network.activation_bytes(patch));
        let all = activations.saturating_mul(plan.batch_size as u64) / 2;
        Estimate {
            what: "prediction",
            batch: plan.batch_size,
            patch: Some(patch),
            weights,
            all: all.saturating_add(weights),
            // Batches are made smaller where memory is short.
            least: (activations / 8).saturating_add(weights / 2),
        }
    }

    /// Compares the estimate with the memory that the device has.
    ///
    /// # Errors
    /// More than there is, even if all of it were free. A run that would need about
    /// as much is warned of.
    pub fn ensure(&self, device: Device) -> Result<()> {
        let Some(there) = total_memory(device) else { return Ok(()) };
        let gib = |bytes: u64| bytes as f64 / GIB;
        let machine = if device.is_cuda() { "the GPU" } else { "this machine" };
        if self.least > there {
            bail!(
                "{self} takes more than {:.1} GiB of memory, and {machine} has {:.1} GiB: reduce \
                 {}`model.f_maps`",
                gib(self.least),
                gib(there),
                // A network too large by itself.
                match self.weights > there / 2 {
                    true => "`model.out_channels` or ",
                    false => "`slice_builder.patch_shape`, `loaders.batch_size` or ",
                }
            );
        }
        if self.all > there {
            warn!(
                "{self} takes about {:.1} GiB of memory, and {machine} has {:.1} GiB",
                gib(self.all),
                gib(there)
            );
        }
        Ok(())
    }

    /// Prints the estimate.
    pub fn describe(&self) {
        info!("{self}: about {:.1} GiB on the device", self.all as f64 / GIB);
    }
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.patch {
            Some(patch) => write!(f, "{} with {} patch(es) {patch:?}", self.what, self.batch),
            None => write!(f, "{} with {} image(s)", self.what, self.batch),
        }
    }
}
