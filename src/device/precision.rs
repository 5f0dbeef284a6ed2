//! The number types that a network stores and computes in.

use tch::Kind;

use crate::config::{Parameter, Section};

/// The key `precision` at the top of a configuration.
pub const PRECISION: Parameter = Parameter::choice(
    "precision",
    "fp32",
    &["fp32", "bf16", "fp64"],
    "number type of the network's arithmetic: bf16 is faster where the processor has it",
);

/// Number type of the network's arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    Fp32,
    /// bfloat16, which has the range of float32 and 8 bits of precision.
    Bf16,
    /// float64, for numerical checks.
    Fp64,
}

/// The number types of a network's tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds {
    /// Type of inputs, weights, feature maps and statistics.
    pub tensors: Kind,
    /// Type in which convolutions are computed; their results have the type above.
    pub convolutions: Kind,
}

impl Precision {
    /// Reads [`PRECISION`].
    pub fn read(top: &Section<'_>) -> Self {
        match top.text(PRECISION.name) {
            "bf16" => Precision::Bf16,
            "fp64" => Precision::Fp64,
            _ => Precision::Fp32,
        }
    }

    /// The types for training: only convolutions use bfloat16. Weights and the sums of optimizer,
    /// norms and loss would lose small changes in it.
    pub fn training(self) -> Kinds {
        match self {
            Precision::Fp32 => Kind::Float.into(),
            Precision::Bf16 => Kinds { tensors: Kind::Float, convolutions: Kind::BFloat16 },
            Precision::Fp64 => Kind::Double.into(),
        }
    }

    /// The types for prediction: the whole network uses bfloat16.
    pub fn prediction(self) -> Kinds {
        match self {
            Precision::Fp32 => Kind::Float.into(),
            Precision::Bf16 => Kind::BFloat16.into(),
            Precision::Fp64 => Kind::Double.into(),
        }
    }
}

impl From<Kind> for Kinds {
    fn from(kind: Kind) -> Self {
        Kinds { tensors: kind, convolutions: kind }
    }
}
