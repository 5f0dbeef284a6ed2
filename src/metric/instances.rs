//! From tensors to label images in memory.

use anyhow::Result;
use tch::{Kind, Tensor};

use super::components::components;
use super::contingency::Labels;

/// The channel of (N, C, D, H, W) that holds the instances of sample `n`,
/// (D, H, W): the last or the first. A target (N, D, H, W) is that channel.
pub(super) fn instance_channel(target: &Tensor, n: i64, last: bool) -> Result<Tensor> {
    let sample = target.f_get(n)?;
    if sample.dim() == 3 {
        return Ok(sample);
    }
    Ok(sample.f_get(if last { sample.size()[0] - 1 } else { 0 })?)
}

/// The labels of (D, H, W), fractions cut off.
pub(super) fn whole_labels(volume: &Tensor) -> Result<Labels> {
    Ok(Labels::new(&copy::<i64>(&volume.f_to_kind(Kind::Int64)?)?))
}

/// The labels of (D, H, W), each distinct number one label.
pub(super) fn distinct_labels(volume: &Tensor) -> Result<Labels> {
    if !matches!(volume.f_kind()?, Kind::Float | Kind::Double) {
        return whole_labels(volume);
    }
    let values = copy::<f64>(&volume.f_to_kind(Kind::Double)?)?;
    if values.iter().all(|x| x.fract() == 0.0 && x.abs() < 9e15) {
        return Ok(Labels::new(&values.iter().map(|&x| x as i64).collect::<Vec<_>>()));
    }
    // The bits of floating-point numbers, turned so that they sort as the
    // numbers do; adding 0 makes one of the two zeros.
    let key = |x: f64| {
        let bits = (x + 0.0).to_bits() as i64;
        bits ^ (((bits >> 63) as u64) >> 1) as i64
    };
    Ok(Labels::new(&values.into_iter().map(key).collect::<Vec<_>>()))
}

/// The 6-connected components of a Boolean volume (D, H, W).
pub(super) fn component_labels(mask: &Tensor) -> Result<Labels> {
    let size = mask.size();
    let size = [size[0] as usize, size[1] as usize, size[2] as usize];
    let found = components(&copy::<bool>(mask)?, size);
    let mut sizes = vec![0u64; found.count as usize + 1];
    for run in found.labels.chunk_by(|a, b| a == b) {
        sizes[run[0] as usize] += run.len() as u64;
    }
    let mut values: Vec<_> = (0..=i64::from(found.count)).collect();
    let mut ids = found.labels;
    if sizes[0] == 0 && !ids.is_empty() {
        // No voxel is background: the labels start at 1.
        values.remove(0);
        sizes.remove(0);
        ids.iter_mut().for_each(|id| *id -= 1);
    }
    Ok(Labels { values, sizes, ids })
}

fn copy<T: tch::kind::Element + Default + Clone>(tensor: &Tensor) -> Result<Vec<T>> {
    let count = tensor.numel();
    let mut values = vec![T::default(); count];
    tensor.f_copy_data(&mut values, count)?;
    Ok(values)
}
