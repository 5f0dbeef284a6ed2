//! One number per class, brought to the logits when it is first needed.

use std::cell::OnceCell;

use tch::{TchError, Tensor};

/// Weights of the classes (C), in the order of the network's channels.
#[derive(Debug)]
pub struct ClassWeights {
    values: Vec<f64>,
    placed: OnceCell<Tensor>,
}

impl ClassWeights {
    pub fn new(values: Vec<f64>) -> Self {
        Self { values, placed: OnceCell::new() }
    }

    /// The weights, (C), with the device and type of `logits`.
    pub fn like(&self, logits: &Tensor) -> Result<Tensor, TchError> {
        let (device, kind) = (logits.device(), logits.f_kind()?);
        match self.placed.get() {
            Some(placed) if placed.device() == device && placed.f_kind()? == kind => {
                Ok(placed.shallow_clone())
            }
            _ => {
                let fresh = Tensor::f_from_slice(&self.values)?.f_to_kind(kind)?.f_to(device)?;
                // Logits of another device or type than the first are rare
                // enough to be served anew each time.
                let _ = self.placed.set(fresh.shallow_clone());
                Ok(fresh)
            }
        }
    }
}
