//! The sums over voxels that the Dice coefficient is made of.
//!
//! They add: the sums of a batch are those of its parts, added up.

use anyhow::Result;
use tch::{Kind, Tensor};

use super::{ALL_BUT_CHANNEL, Labels};

/// Sums over batch and space of labels t, and of probabilities p times labels,
/// each (C).
pub struct LabelSums {
    /// Σ p t
    pub both: Tensor,
    /// Σ t
    pub labels: Tensor,
    /// Σ t²
    pub labels_squared: Tensor,
}

impl LabelSums {
    /// Of probabilities (N, C, D, H, W) and labels of that shape.
    pub fn new(probabilities: &Tensor, labels: &Labels) -> Result<Self> {
        let kind = probabilities.f_kind()?;
        let sum = |x: &Tensor| x.f_sum_dim_intlist(ALL_BUT_CHANNEL, false, kind);
        match labels {
            Labels::Dense(labels) => {
                let labels = labels.f_to_kind(kind)?;
                Ok(Self {
                    both: sum(&probabilities.f_mul(&labels)?)?,
                    labels: sum(&labels)?,
                    labels_squared: sum(&labels.f_square()?)?,
                })
            }
            Labels::OneHot { index, channels } => {
                // Of every voxel's probabilities only that of its class counts. `index_add`
                // adds one voxel after the other: in float32, small numbers would get lost
                // in the sums of millions.
                let wide = Kind::Double;
                let set = index.f_ge(0)?.f_to_kind(wide)?.f_flatten(0, -1)?;
                let class = index.f_clamp_min(0)?;
                let of_class = probabilities.f_gather(1, &class.f_unsqueeze(1)?, false)?;
                let class = class.f_flatten(0, -1)?;
                let zeros = Tensor::f_zeros(*channels, (wide, set.device()))?;
                let of_class = of_class.f_flatten(0, -1)?.f_to_kind(wide)?.f_mul(&set)?;
                let both = zeros.f_index_add(0, &class, &of_class)?.f_to_kind(kind)?;
                let labels = zeros.f_index_add(0, &class, &set)?.f_to_kind(kind)?;
                Ok(Self { both, labels_squared: labels.shallow_clone(), labels })
            }
        }
    }
}

/// Sums over batch and space from which the Dice coefficient of every channel
/// follows, each (C).
pub struct DiceSums {
    /// Σ p t
    pub both: Tensor,
    /// Σ p²
    pub probabilities_squared: Tensor,
    /// Σ t²
    pub labels_squared: Tensor,
}

impl DiceSums {
    /// Sums in all of a network with so many channels.
    pub const fn length(channels: usize) -> usize {
        3 * channels
    }

    /// All sums one after the other, (3 C).
    pub fn flat(self) -> Result<Tensor> {
        Ok(Tensor::f_cat(&[self.both, self.probabilities_squared, self.labels_squared], 0)?)
    }

    /// From what [`DiceSums::flat`] gives, or a sum of such.
    pub fn from_flat(sums: &Tensor) -> Result<Self> {
        let channels = sums.size()[0] / 3;
        let part = |index: i64| sums.f_narrow(0, index * channels, channels);
        Ok(Self { both: part(0)?, probabilities_squared: part(1)?, labels_squared: part(2)? })
    }

    /// Of probabilities (N, C, D, H, W) and labels of that shape.
    pub fn new(probabilities: &Tensor, labels: &Labels) -> Result<Self> {
        let kind = probabilities.f_kind()?;
        let LabelSums { both, labels_squared, .. } = LabelSums::new(probabilities, labels)?;
        let probabilities_squared =
            probabilities.f_square()?.f_sum_dim_intlist(ALL_BUT_CHANNEL, false, kind)?;
        Ok(Self { both, probabilities_squared, labels_squared })
    }

    /// `2 Σpt / max(Σp² + Σt², epsilon)` of every channel, (C); a class weight (C)
    /// multiplies `Σpt`.
    pub fn coefficients(&self, weight: Option<&Tensor>, epsilon: f64) -> Result<Tensor> {
        let both = match weight {
            Some(weight) => self.both.f_mul(weight)?,
            None => self.both.shallow_clone(),
        };
        let all = self.probabilities_squared.f_add(&self.labels_squared)?.f_clamp_min(epsilon)?;
        Ok(both.f_mul_scalar(2.0)?.f_div(&all)?)
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn sums_of_millions_of_voxels_are_those_of_dense_labels() {
        let (side, channels) = (144, 2);
        let size = [1, channels, side, side, side];
        let probabilities = Tensor::full(size, 0.1, (Kind::Float, Device::Cpu));
        let index = Tensor::zeros([1, side, side, side], (Kind::Int64, Device::Cpu));
        let sums = LabelSums::new(&probabilities, &Labels::OneHot { index, channels }).unwrap();
        let (voxels, of) = ((side * side * side) as f64, |sums: &Tensor| sums.double_value(&[0]));
        assert!((of(&sums.both) / (0.1 * voxels) - 1.0).abs() < 1e-6, "{}", of(&sums.both));
        assert_eq!(of(&sums.labels), voxels);
        assert_eq!(sums.both.double_value(&[1]), 0.0);
    }
}
