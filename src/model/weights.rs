//! Tensors of a checkpoint into a network and back.

use std::path::Path;

use anyhow::{Context, Result, bail};
use tch::{Kind, Tensor};

use crate::checkpoint::{DType, TensorData, read_model_state, strip_prefixes};
use crate::ffi::tensor::from_vec;

use super::UNet;

/// A checkpoint's tensor as a CPU tensor; half precision becomes float32, small
/// integers int64.
pub fn to_tensor(data: &TensorData) -> Result<Tensor> {
    let shape: Vec<i64> = data.shape.iter().map(|size| *size as i64).collect();
    let tensor = match data.dtype {
        DType::F32 => from_vec(elements(&data.bytes, f32::from_le_bytes), &shape)?,
        DType::F64 => from_vec(elements(&data.bytes, f64::from_le_bytes), &shape)?,
        DType::I64 => from_vec(elements(&data.bytes, i64::from_le_bytes), &shape)?,
        DType::F16 | DType::BF16 => {
            let values = data.to_f64().into_iter().map(|value| value as f32).collect();
            from_vec::<f32>(values, &shape)?
        }
        _ => {
            let values = data.to_f64().into_iter().map(|value| value as i64).collect();
            from_vec::<i64>(values, &shape)?
        }
    };
    Ok(tensor)
}

fn elements<T, const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|chunk| read(*chunk)).collect()
}

/// A tensor as a checkpoint stores it, in NCDHW order.
pub fn from_tensor(tensor: &Tensor) -> Result<TensorData> {
    let tensor = tensor.f_detach()?.f_to_device(tch::Device::Cpu)?.f_contiguous()?;
    let shape: Vec<usize> = tensor.size().iter().map(|size| *size as usize).collect();
    let dtype = match tensor.f_kind()? {
        Kind::Float => DType::F32,
        Kind::Double => DType::F64,
        Kind::Int64 => DType::I64,
        other => bail!("a tensor of kind {other:?} in a checkpoint"),
    };
    let mut bytes = vec![0u8; tensor.numel() * dtype.size()];
    tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
    Ok(TensorData::new(dtype, shape, bytes))
}

impl UNet {
    /// Loads the weights of a `.pytorch` file.
    ///
    /// # Errors
    /// If the file cannot be read, or holds another architecture: every tensor
    /// that is missing, left over or of another shape is named.
    pub fn load_checkpoint(&self, path: &Path) -> Result<()> {
        let mut state = read_model_state(path)?;
        strip_prefixes(&mut state);
        // One by one, so that the bytes of a tensor go when it is made.
        let tensors = state
            .into_iter()
            .map(|(name, data)| Ok((name, to_tensor(&data)?)))
            .collect::<Result<Vec<_>>>()?;
        self.load_state_dict(&tensors).with_context(|| {
            format!(
                "{}: the checkpoint is of another network than the `model` section describes",
                path.display()
            )
        })
    }

    /// Name of the first tensor with a value that is NaN or infinite, if there is one.
    pub fn not_finite(&self) -> Result<Option<String>> {
        for (name, tensor) in self.state_dict() {
            if tensor.is_floating_point() && tensor.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0
            {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}
