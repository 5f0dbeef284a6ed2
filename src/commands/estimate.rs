//! How much memory a run takes, told before any is taken.

use anyhow::{Result, bail};
use log::{info, warn};
use tch::Device;

use crate::device::total_memory;
use crate::predict::PredictionPlan;
use crate::train::TrainingPlan;

const GIB: f64 = (1u64 << 30) as f64;

/// Bytes of the program and its libraries on the CPU.
const PROGRAM: u64 = 160 << 20;

/// Bytes that convolutions and their gradients work with on the CPU, and that malloc keeps in
/// pieces, at most; of small networks it is four times their feature maps. Measured: see
/// `docs/reliability.md`.
const SCRATCH: u64 = 640 << 20;

/// What a run takes on its device, in bytes.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// `training` or `prediction`.
    what: &'static str,
    batch: usize,
    patch: Option<[usize; 3]>,
    /// Of the weights alone.
    weights: u64,
    /// About, of feature maps and weights alone.
    all: u64,
    /// About, on the CPU: with all that a run takes there.
    on_cpu: u64,
    /// Certainly.
    least: u64,
}

impl Estimate {
    /// Training keeps all feature maps, and four numbers a weight: itself, its gradient
    /// and two of the optimizer.
    pub fn training(plan: &TrainingPlan) -> Self {
        let (weights, activations) = (plan.learner.network.weight_bytes(), plan.activation_bytes());
        // A checkpoint holds copies of the weights and of the optimizer's state.
        let kept = activations.saturating_add(weights.saturating_mul(7));
        Estimate {
            what: "training",
            batch: plan.data.batch_size(),
            patch: plan.data.patch(),
            weights,
            all: activations.saturating_add(weights.saturating_mul(4)),
            on_cpu: kept
                .saturating_add(activations.saturating_mul(4).min(SCRATCH))
                .saturating_add(PROGRAM),
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
            // The tensors of the checkpoint are read before they become weights.
            on_cpu: all.saturating_add(weights.saturating_mul(2)).saturating_add(PROGRAM),
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
        let all = self.all_on(device);
        if all > there {
            warn!(
                "{self} takes about {:.1} GiB of memory, and {machine} has {:.1} GiB",
                gib(all),
                gib(there)
            );
        }
        Ok(())
    }

    /// Prints the estimate for a device.
    pub fn describe(&self, device: Device) {
        let place = if device.is_cuda() { "on the device" } else { "in all" };
        info!("{self}: about {:.1} GiB {place}", self.all_on(device) as f64 / GIB);
    }

    fn all_on(&self, device: Device) -> u64 {
        if device.is_cuda() { self.all } else { self.on_cpu }
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
