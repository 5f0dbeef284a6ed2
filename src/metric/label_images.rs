//! From tensors to label images in memory.

use anyhow::Result;
use ndarray::Array3;
use tch::{Kind, Tensor};

use crate::regions::{Connectivity, LabelImage, components};
use crate::target::Labels;

/// The channel that holds the instances of sample `n`, (D, H, W): the last or the
/// first of labels (N, C, D, H, W). Labels (N, D, H, W) are that channel.
pub(super) fn instance_channel(labels: &Labels, n: i64, last: bool) -> Result<Tensor> {
    let channel = |channels: i64| if last { channels - 1 } else { 0 };
    Ok(match labels.sample(n)? {
        Labels::Dense(labels) if labels.dim() == 3 => labels,
        Labels::Dense(labels) => labels.f_get(channel(labels.size()[0]))?,
        Labels::OneHot { index, channels } => index.f_eq(channel(channels))?,
    })
}

/// The labels of (D, H, W), fractions cut off.
pub(super) fn whole_labels(volume: &Tensor) -> Result<LabelImage> {
    Ok(LabelImage::new(&copy::<i64>(&volume.f_to_kind(Kind::Int64)?)?))
}

/// The labels of (D, H, W), each distinct number one label.
pub(super) fn distinct_labels(volume: &Tensor) -> Result<LabelImage> {
    if !matches!(volume.f_kind()?, Kind::Float | Kind::Double) {
        return whole_labels(volume);
    }
    let values = copy::<f64>(&volume.f_to_kind(Kind::Double)?)?;
    if values.iter().all(|x| x.fract() == 0.0 && x.abs() < 9e15) {
        return Ok(LabelImage::new(&values.iter().map(|&x| x as i64).collect::<Vec<_>>()));
    }
    // The bits of floating-point numbers, turned so that they sort as the
    // numbers do; adding 0 makes one of the two zeros.
    let key = |x: f64| {
        let bits = (x + 0.0).to_bits() as i64;
        bits ^ (((bits >> 63) as u64) >> 1) as i64
    };
    Ok(LabelImage::new(&values.into_iter().map(key).collect::<Vec<_>>()))
}

/// The 6-connected components of a Boolean volume (D, H, W).
pub(super) fn component_labels(mask: &Tensor) -> Result<LabelImage> {
    let size = mask.size();
    let size = [size[0] as usize, size[1] as usize, size[2] as usize];
    let mask = Array3::from_shape_vec(size, copy::<bool>(mask)?)?;
    Ok(components(mask.view(), Connectivity::Faces6).into())
}

fn copy<T: tch::kind::Element + Default + Clone>(tensor: &Tensor) -> Result<Vec<T>> {
    let count = tensor.numel();
    let mut values = vec![T::default(); count];
    tensor.f_copy_data(&mut values, count)?;
    Ok(values)
}
