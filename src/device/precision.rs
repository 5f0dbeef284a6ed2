//! The types of numbers that a network holds and computes in.

use tch::Kind;

/// In what the network computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    Fp32,
    /// bfloat16, which has the range of float32 and 8 bits of precision.
    Bf16,
    /// For checking numbers.
    Fp64,
}

/// The types of a network's tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds {
    /// Of inputs, weights, feature maps and statistics.
    pub tensors: Kind,
    /// In which convolutions are computed; their results are of the type above.
    pub convolutions: Kind,
}

impl Precision {
    /// In training: bfloat16 is for the convolutions alone. Weights and what
    /// optimizer, norms and loss sum up would lose small changes in it.
    pub fn training(self) -> Kinds {
        match self {
            Precision::Fp32 => Kind::Float.into(),
            Precision::Bf16 => Kinds { tensors: Kind::Float, convolutions: Kind::BFloat16 },
            Precision::Fp64 => Kind::Double.into(),
        }
    }

    /// In prediction: the whole network.
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
