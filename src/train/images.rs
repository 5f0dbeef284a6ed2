//! Middle slices of a batch for TensorBoard.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use super::tensorboard::{EventWriter, Image};

/// Logs the middle slice along z of every channel of every sample of a batch
/// (N, C, D, H, W) or (N, D, H, W), under
/// `<name>/batch_<n>/channel_<c>/slice_<z>`.
pub fn log(events: &EventWriter, name: &str, batch: &Tensor, step: u64) -> Result<()> {
    let batch = if batch.dim() == 4 { batch.f_unsqueeze(1)? } else { batch.shallow_clone() };
    let size = batch.size();
    let middle = size[2] / 2;
    let slices = batch.f_select(2, middle)?.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?;
    for n in 0..size[0] {
        for c in 0..size[1] {
            let slice = slices.f_select(0, n)?.f_select(0, c)?.f_contiguous()?;
            let pixels = crate::ffi::tensor::as_slice::<f32>(&slice)?.to_vec();
            let image = Image { height: size[3] as usize, width: size[4] as usize, pixels };
            events.image(&format!("{name}/batch_{n}/channel_{c}/slice_{middle}"), image, step);
        }
    }
    Ok(())
}
