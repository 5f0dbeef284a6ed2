//! A network as a list of instructions, from which other formats are written.
//!
//! Every layer appends what it computes in prediction; what a layer does in training
//! only, such as dropout, leaves no trace.

use super::join::Interpolation;

/// A tensor within a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Value(usize);

impl Value {
    /// The network's input.
    pub const INPUT: Value = Value(0);

    /// 0 for the input, and so on in the order of the instructions.
    pub fn index(self) -> usize {
        self.0
    }
}

/// What an instruction computes of its inputs. `name` is that of the module in the state
/// dict, whose `weight` and `bias` it uses. Numbers of axes are along z, y and x.
#[derive(Clone, Debug, PartialEq)]
pub enum Function {
    /// Stride 1.
    Conv {
        name: String,
        bias: bool,
        padding: [i64; 3],
    },
    /// Stride 2 and padding 1. The outputs are 2n − 3 + `kernel` long; with a second input
    /// they grow by one voxel where that is needed to have its size.
    TransposedConv {
        name: String,
        bias: bool,
        kernel: [i64; 3],
    },
    GroupNorm {
        name: String,
        groups: i64,
    },
    /// With the running statistics.
    BatchNorm {
        name: String,
    },
    Relu,
    LeakyRelu {
        slope: f64,
    },
    Elu,
    Sigmoid,
    /// Over the channels.
    Softmax,
    /// The stride is the kernel.
    MaxPool {
        kernel: [i64; 3],
    },
    /// The first input at the size of the second.
    Resize(Interpolation),
    /// Along the channels.
    Concatenate,
    Add,
    Multiply,
    Maximum,
    /// (N, C, D, H, W) to (N, C).
    MeanOverSpace,
    /// (N, C) to (N, C').
    Linear {
        name: String,
    },
    /// (N, C) to (N, C, 1, 1, 1).
    AsChannels,
}

/// One step of a [`Graph`].
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    pub function: Function,
    pub inputs: Vec<Value>,
}

/// The steps from the input (N, C_in, D, H, W), or (N, C_in, H, W) in networks of 2D
/// layers, to the output. The last instruction computes the output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    instructions: Vec<Instruction>,
}

impl Graph {
    /// Appends a step and gives its result.
    pub(super) fn push<const N: usize>(&mut self, function: Function, inputs: [Value; N]) -> Value {
        self.instructions.push(Instruction { function, inputs: inputs.to_vec() });
        Value(self.instructions.len())
    }

    /// The steps, each with its result.
    pub fn steps(&self) -> impl Iterator<Item = (&Instruction, Value)> {
        self.instructions.iter().zip(1..).map(|(instruction, number)| (instruction, Value(number)))
    }

    pub fn output(&self) -> Value {
        Value(self.instructions.len())
    }
}
