//! One convolution with its norm and non-linearity, in any order.

use tch::{TchError, Tensor};

use crate::ffi::tensor::leaky_relu_;

use super::conv::Conv;
use super::norm::{BatchNorm, GroupNorm};
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

#[derive(Debug)]
enum Layer {
    Conv(Conv),
    GroupNorm(GroupNorm),
    BatchNorm(BatchNorm),
    NonLinearity(Operation),
}

/// The reference's `SingleConv`.
#[derive(Debug)]
pub struct ConvUnit {
    steps: Vec<Layer>,
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
                    Layer::Conv(Conv::new(&mut conv, channels, spec.kernel, spec.padding, bias)?)
                }
                Operation::GroupNorm => {
                    let mut norm = builder.child("groupnorm");
                    Layer::GroupNorm(GroupNorm::new(&mut norm, normed, spec.num_groups)?)
                }
                Operation::BatchNorm => {
                    Layer::BatchNorm(BatchNorm::new(&mut builder.child("batchnorm"), normed)?)
                }
                non_linearity => Layer::NonLinearity(non_linearity),
            });
        }
        Ok(ConvUnit { steps })
    }

    /// (N, C_in, D, H, W) to (N, C_out, D', H', W').
    pub fn forward(&self, mut x: Tensor, training: bool) -> Result<Tensor, TchError> {
        for step in &self.steps {
            x = match step {
                Layer::Conv(conv) => conv.forward(&x)?,
                Layer::GroupNorm(norm) => norm.forward(&x, training)?,
                Layer::BatchNorm(norm) => norm.forward(&x, training)?,
                Layer::NonLinearity(operation) => activate(x, *operation)?,
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
