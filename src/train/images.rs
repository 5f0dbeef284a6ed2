//! Middle slices of a batch for TensorBoard.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use super::batch::TensorBatch;
use crate::model::Activation;
use crate::tensorboard::{EventWriter, Image};

/// Logs the middle slice along z of every channel of every sample: of the inputs,
/// the targets, without their last channel if asked for, and the predictions that the
/// logits (N, C, D, H, W) stand for.
pub fn log(
    events: &EventWriter,
    batch: &TensorBatch,
    logits: &Tensor,
    activation: Activation,
    skip_last_target: bool,
    step: u64,
) -> Result<()> {
    // The slice is cut out first: all classes of a volume take gigabytes.
    let z = batch.raw.size()[2] / 2;
    log_slice(events, "inputs", &batch.raw.f_narrow(2, z, 1)?, z, step)?;
    let z = batch.labels.depth() / 2;
    let mut targets = batch.labels.slice(z)?.dense(Kind::Float)?;
    if skip_last_target && targets.dim() == 5 && targets.size()[1] > 1 {
        targets = targets.f_narrow(1, 0, targets.size()[1] - 1)?;
    }
    log_slice(events, "targets", &targets, z, step)?;
    let z = logits.size()[2] / 2;
    let predictions = tch::no_grad(|| activation.forward(&logits.f_narrow(2, z, 1)?))?;
    log_slice(events, "predictions", &predictions, z, step)
}

/// Logs slices (N, C, 1, H, W) or (N, 1, H, W) under
/// `<name>/batch_<n>/channel_<c>/slice_<z>`.
fn log_slice(events: &EventWriter, name: &str, slices: &Tensor, z: i64, step: u64) -> Result<()> {
    let slices = if slices.dim() == 5 { slices.f_squeeze_dim(2)? } else { slices.shallow_clone() };
    let slices = slices.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?;
    let size = slices.size();
    for n in 0..size[0] {
        for c in 0..size[1] {
            let slice = slices.f_select(0, n)?.f_select(0, c)?.f_contiguous()?;
            let pixels = crate::ffi::tensor::as_slice::<f32>(&slice)?.to_vec();
            let image = Image { height: size[2] as usize, width: size[3] as usize, pixels };
            events.image(&format!("{name}/batch_{n}/channel_{c}/slice_{z}"), image, step);
        }
    }
    Ok(())
}
