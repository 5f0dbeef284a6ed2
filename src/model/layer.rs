//! One convolution with its norm and non-linearity, in any order.

use tch::{Device, Kind, TchError, Tensor};

use crate::ffi::tensor::leaky_relu_;

use super::conv::Conv;
use super::state::Builder;

/// One letter of `layer_order`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Conv,
    GroupNorm,
    BatchNorm,
    Relu,
    LeakyRelu,
    Elu,
}

impl Operation {
    fn is_non_linearity(self) -> bool {
        matches!(self, Operation::Relu | Operation::LeakyRelu | Operation::Elu)
    }
}

/// The operations of a layer, such as `gcr`: group norm, convolution, ReLU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order(Vec<Operation>);

impl Order {
    pub fn parse(letters: &str) -> Result<Self, String> {
        let mut operations = Vec::new();
        for letter in letters.chars() {
            let operation = match letter {
                'c' => Operation::Conv,
                'g' => Operation::GroupNorm,
                'b' => Operation::BatchNorm,
                'r' => Operation::Relu,
                'l' => Operation::LeakyRelu,
                'e' => Operation::Elu,
                other => {
                    return Err(format!(
                        "'{other}' in '{letters}' is no operation; known are c (convolution), \
                         g (group norm), b (batch norm), r (ReLU), l (leaky ReLU), e (ELU)"
                    ));
                }
            };
            // The state dict has one name for each kind of operation.
            if operations.contains(&operation) {
                return Err(format!("'{letter}' stands twice in '{letters}'"));
            }
            operations.push(operation);
        }
        if !operations.contains(&Operation::Conv) {
            return Err(format!("'{letters}' has no convolution; add a 'c', as in 'gcr'"));
        }
        if operations[0].is_non_linearity() {
            return Err(format!(
                "'{letters}' begins with a non-linearity; a layer begins with c, g or b"
            ));
        }
        Ok(Order(operations))
    }

    /// The same without its non-linearities.
    pub fn linear(&self) -> Order {
        Order(self.0.iter().copied().filter(|op| !op.is_non_linearity()).collect())
    }

    /// The non-linearity of a residual block's sum: the leaky one first, then
    /// ELU, and ReLU when the order names none, as in the reference.
    pub fn residual_non_linearity(&self) -> Operation {
        [Operation::LeakyRelu, Operation::Elu]
            .into_iter()
            .find(|op| self.0.contains(op))
            .unwrap_or(Operation::Relu)
    }

    pub fn has_batch_norm(&self) -> bool {
        self.0.contains(&Operation::BatchNorm)
    }

    fn has_norm(&self) -> bool {
        self.0.contains(&Operation::GroupNorm) || self.0.contains(&Operation::BatchNorm)
    }

    fn before_conv(&self, index: usize) -> bool {
        self.0[index..].contains(&Operation::Conv)
    }

    /// Whether the group norm sees the convolution's input; `None` without one.
    pub(super) fn group_norm_before_conv(&self) -> Option<bool> {
        let index = self.0.iter().position(|op| *op == Operation::GroupNorm)?;
        Some(self.before_conv(index))
    }
}

/// `torch.nn.GroupNorm`, eps 1e-5.
#[derive(Debug)]
struct GroupNorm {
    groups: i64,
    weight: Tensor,
    bias: Tensor,
}

/// Voxels from which on statistics are computed apart: with fewer, torch's differ by
/// less than 2e-6.
const MANY_VOXELS: i64 = 1 << 12;
/// Values that are summed at a time: few enough for the processor's cache.
const PIECE: i64 = 1 << 21;

impl GroupNorm {
    /// When nothing is trained, large feature maps that are stored channels-last get
    /// statistics of our own: torch adds all voxels of a channel to one float32, one
    /// after the other, and probabilities of a patch of 51×96×210 were off by 1.5e-4
    /// for it. Sums of pieces in float64 leave 5e-6, for a twentieth more time.
    fn forward(&self, x: &Tensor, training: bool) -> Result<Tensor, TchError> {
        let size = x.size();
        let plain = x.device() != Device::Cpu || x.f_kind()? != Kind::Float;
        if training || plain || size[0] != 1 || size[2..].iter().product::<i64>() < MANY_VOXELS {
            return x.f_group_norm(self.groups, Some(&self.weight), Some(&self.bias), 1e-5, true);
        }
        let voxels = x.f_permute([0, 2, 3, 4, 1])?;
        if !voxels.is_contiguous() {
            return x.f_group_norm(self.groups, Some(&self.weight), Some(&self.bias), 1e-5, true);
        }
        let (mean, variance) = self.statistics(&voxels.f_view([-1])?, size[1])?;
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        x.f_batch_norm(weight, bias, Some(&mean), Some(&variance), false, 0.0, 1e-5, true)
    }

    /// Mean and variance of the group of each channel, of values in the order of
    /// voxels, channels fastest.
    fn statistics(&self, values: &Tensor, channels: i64) -> Result<(Tensor, Tensor), TchError> {
        // Rows of several voxels, long enough for the processor's registers.
        let row = channels * (64 / channels).max(1);
        let piece = row * (PIECE / row).max(1);
        let all = values.size()[0];
        let double = (Kind::Double, Device::Cpu);
        let mut sums = Tensor::f_zeros([2, channels], double)?;
        let mut start = 0;
        while start < all {
            let left = all - start;
            // The last voxels may not fill a row.
            let (length, width) = match left {
                _ if left >= piece => (piece, row),
                _ if left >= row => (left / row * row, row),
                _ => (left, channels),
            };
            let part = values.f_narrow(0, start, length)?.f_view([-1, width])?;
            for (number, part) in [part.shallow_clone(), part.f_square()?].iter().enumerate() {
                let sum = part.f_sum_dim_intlist([0].as_slice(), false, Kind::Float)?;
                let sum = sum.f_to_kind(Kind::Double)?.f_view([-1, channels])?;
                let sum = sum.f_sum_dim_intlist([0].as_slice(), false, Kind::Double)?;
                let _ = sums.f_select(0, number as i64)?.f_add_(&sum)?;
            }
            start += length;
        }
        sums = sums.f_view([2, self.groups, -1])?;
        let count = (all / self.groups) as f64;
        let moments =
            sums.f_sum_dim_intlist([2].as_slice(), false, Kind::Double)?.f_div_scalar(count)?;
        let mean = moments.f_select(0, 0)?;
        let variance = moments.f_select(0, 1)?.f_sub(&mean.f_square()?)?.f_clamp_min(0.0)?;
        let each = |values: Tensor| {
            values
                .f_unsqueeze(1)?
                .f_repeat([1, channels / self.groups])?
                .f_view([-1])?
                .f_to_kind(Kind::Float)
        };
        Ok((each(mean)?, each(variance)?))
    }
}

/// `torch.nn.BatchNorm3d`, eps 1e-5, momentum 0.1.
#[derive(Debug)]
struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    batches: Tensor,
}

impl BatchNorm {
    fn forward(&self, x: &Tensor, training: bool) -> Result<Tensor, TchError> {
        if training {
            let _ = tch::no_grad(|| self.batches.shallow_clone().f_add_scalar_(1))?;
        }
        x.f_batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            Some(&self.running_mean),
            Some(&self.running_var),
            training,
            0.1,
            1e-5,
            true,
        )
    }
}

#[derive(Debug)]
enum Step {
    Conv(Conv),
    GroupNorm(GroupNorm),
    BatchNorm(BatchNorm),
    NonLinearity(Operation),
}

/// The reference's `SingleConv`.
#[derive(Debug)]
pub struct ConvUnit {
    steps: Vec<Step>,
}

/// What all convolution units of a network have in common.
#[derive(Clone, Debug)]
pub struct UnitSpec {
    pub order: Order,
    pub num_groups: i64,
    pub kernel: [i64; 3],
    pub padding: [i64; 3],
}

impl ConvUnit {
    pub(super) fn new(
        builder: &mut Builder<'_>,
        channels: (i64, i64),
        spec: &UnitSpec,
    ) -> Result<Self, TchError> {
        let mut steps = Vec::new();
        for (index, &operation) in spec.order.0.iter().enumerate() {
            let normed = if spec.order.before_conv(index) { channels.0 } else { channels.1 };
            steps.push(match operation {
                Operation::Conv => {
                    // A norm has a bias of its own.
                    let bias = !spec.order.has_norm();
                    let mut conv = builder.child("conv");
                    Step::Conv(Conv::new(&mut conv, channels, spec.kernel, spec.padding, bias)?)
                }
                Operation::GroupNorm => {
                    let mut norm = builder.child("groupnorm");
                    Step::GroupNorm(GroupNorm {
                        groups: if normed < spec.num_groups { 1 } else { spec.num_groups },
                        weight: norm.constant("weight", normed, 1.0)?,
                        bias: norm.constant("bias", normed, 0.0)?,
                    })
                }
                Operation::BatchNorm => {
                    let mut norm = builder.child("batchnorm");
                    Step::BatchNorm(BatchNorm {
                        weight: norm.constant("weight", normed, 1.0)?,
                        bias: norm.constant("bias", normed, 0.0)?,
                        running_mean: norm.buffer("running_mean", normed, 0.0)?,
                        running_var: norm.buffer("running_var", normed, 1.0)?,
                        batches: norm.counter("num_batches_tracked")?,
                    })
                }
                non_linearity => Step::NonLinearity(non_linearity),
            });
        }
        Ok(ConvUnit { steps })
    }

    /// (N, C_in, D, H, W) to (N, C_out, D', H', W').
    pub fn forward(&self, mut x: Tensor, training: bool) -> Result<Tensor, TchError> {
        for step in &self.steps {
            x = match step {
                Step::Conv(conv) => conv.forward(&x)?,
                Step::GroupNorm(norm) => norm.forward(&x, training)?,
                Step::BatchNorm(norm) => norm.forward(&x, training)?,
                Step::NonLinearity(operation) => activate(x, *operation)?,
            };
        }
        Ok(x)
    }
}

/// The non-linearity in place: `x` is the output of a layer that does not need
/// it for its gradient.
pub fn activate(mut x: Tensor, operation: Operation) -> Result<Tensor, TchError> {
    match operation {
        Operation::LeakyRelu => leaky_relu_(x, 0.1),
        Operation::Elu => x.f_elu_(),
        _ => x.f_relu_(),
    }
}
