//! How fresh weights are drawn.

use tch::{Device, Kind, TchError, Tensor};

/// U(−b, b) with b = 1/√fan_in: what torch's `kaiming_uniform_(a=√5)` comes to,
/// with which it starts the weights and biases of convolutions
/// (`torch.nn.modules.conv._ConvNd.reset_parameters`). For a transposed
/// convolution fan_in counts the output channels, as its weight begins with the
/// input channels.
pub fn fan_in_uniform(shape: &[i64], fan_in: i64, kind: Kind) -> Result<Tensor, TchError> {
    let bound = 1.0 / (fan_in as f64).sqrt();
    let mut tensor = Tensor::f_empty(shape, (kind, Device::Cpu))?;
    tch::no_grad(|| tensor.f_uniform_(-bound, bound))
}
