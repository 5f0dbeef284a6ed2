//! Volumes to tensors and back, without a copy where memory can be shared.

use anyhow::{Result, ensure};
use ndarray::Array4;
use tch::{Device, Kind, Tensor};

use crate::ffi::tensor::{TensorElement, from_vec, to_cuda};
use crate::volume::{Values, Volume};

fn share<T: TensorElement>(array: Array4<T>, shape: &[i64]) -> Result<Tensor> {
    // Volumes are contiguous, but an array that was sliced in place must be copied.
    let array =
        if array.is_standard_layout() { array } else { array.as_standard_layout().into_owned() };
    let (values, offset) = array.into_raw_vec_and_offset();
    match offset {
        None | Some(0) => Ok(from_vec(values, shape)?),
        Some(offset) => Ok(from_vec(values[offset..].to_vec(), shape)?),
    }
}

/// A volume as a CPU tensor of the same type and rank, in the same memory.
pub fn to_tensor(volume: Volume) -> Result<Tensor> {
    let shape: Vec<i64> = volume.shape().iter().map(|size| *size as i64).collect();
    match volume.values {
        Values::U8(a) => share(a, &shape),
        // torch supports few operations on unsigned 16-bit integers.
        Values::U16(a) => share(a.mapv(i32::from), &shape),
        Values::I32(a) => share(a, &shape),
        Values::I64(a) => share(a, &shape),
        Values::F32(a) => share(a, &shape),
        Values::F64(a) => share(a, &shape),
    }
}

/// Volumes of one shape as one batch (N, ...) on the device; floats are cast to
/// `float`, integers keep their type. A batch of one is not copied on the CPU.
pub fn stack(volumes: Vec<Volume>, float: Kind, device: Device) -> Result<Tensor> {
    ensure!(!volumes.is_empty(), "an empty batch");
    let shape = volumes[0].shape();
    for volume in &volumes {
        ensure!(
            volume.shape() == shape,
            "the patches of a batch have different shapes, {shape:?} and {:?}",
            volume.shape()
        );
    }
    let mut tensors = volumes.into_iter().map(to_tensor).collect::<Result<Vec<_>>>()?;
    let batch = match tensors.len() {
        1 => tensors.remove(0).f_unsqueeze(0)?,
        _ => Tensor::f_stack(&tensors, 0)?,
    };
    let batch = if batch.is_floating_point() { batch.f_to_kind(float)? } else { batch };
    to_device(batch, device)
}

/// Index volumes (1, D, H, W) of one shape as one int64 batch (N, D, H, W) on the device, each
/// with a number added to its indices. They are copied to the device as int32.
pub fn stack_indices(volumes: Vec<(&Array4<u16>, i64)>, device: Device) -> Result<Tensor> {
    let mut tensors = Vec::new();
    for (indices, offset) in volumes {
        let (_, d, h, w) = indices.dim();
        let offset = i32::try_from(offset)?;
        let values = indices.iter().map(|&index| i32::from(index) + offset).collect();
        tensors.push(from_vec(values, &[d as i64, h as i64, w as i64])?);
    }
    Ok(to_device(Tensor::f_stack(&tensors, 0)?, device)?.f_to_kind(Kind::Int64)?)
}

fn to_device(batch: Tensor, device: Device) -> Result<Tensor> {
    match device {
        // Page-locked memory is limited; without it, an ordinary copy is made.
        Device::Cuda(index) => Ok(to_cuda(&batch, index).or_else(|_| batch.f_to_device(device))?),
        _ => Ok(batch),
    }
}

/// The name of the first of some tensors of one device that holds a NaN or infinite
/// number.
pub fn find_not_finite<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
) -> Result<Option<&'a str>> {
    let (mut names, mut flags) = (Vec::new(), Vec::new());
    for (name, tensor) in tensors.filter(|(_, tensor)| tensor.is_floating_point()) {
        names.push(name);
        flags.push(tensor.f_isfinite()?.f_all()?);
    }
    if flags.is_empty() {
        return Ok(None);
    }
    // One transfer for all of them.
    let flags = Tensor::f_stack(&flags, 0)?.f_to_device(Device::Cpu)?;
    let flags: Vec<bool> = flags.try_into()?;
    Ok(names.into_iter().zip(flags).find(|(_, finite)| !finite).map(|(name, _)| name))
}
