//! Group and batch norms.

use tch::{Device, Kind, TchError, Tensor};

use super::graph::{Function, Graph, Value};
use super::maps::Maps;
use super::state::Builder;

/// `torch.nn.GroupNorm`, eps 1e-5.
#[derive(Debug)]
pub struct GroupNorm {
    name: String,
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
    /// Of so many groups, or one if there are fewer channels.
    pub(super) fn new(
        builder: &mut Builder<'_>,
        channels: i64,
        groups: i64,
    ) -> Result<Self, TchError> {
        Ok(GroupNorm {
            name: builder.name(),
            groups: if channels < groups { 1 } else { groups },
            weight: builder.constant("weight", channels, 1.0)?,
            bias: builder.constant("bias", channels, 0.0)?,
        })
    }

    /// When nothing is trained, large feature maps that are stored channels-last get
    /// statistics of our own: torch adds all voxels of a channel to one float32, one
    /// after the other, and probabilities of a patch of 51×96×210 were off by 1.5e-4
    /// for it. Sums of pieces in float64 leave 5e-6, for a twentieth more time.
    pub fn forward(&self, x: &Tensor, training: bool) -> Result<Tensor, TchError> {
        let size = x.size();
        let plain = x.device() != Device::Cpu || x.f_kind()? != Kind::Float;
        if training
            || plain
            || size[0] != 1
            || size[2..].iter().product::<i64>() < MANY_VOXELS
            || !x.f_permute([0, 2, 3, 4, 1])?.is_contiguous()
        {
            return x.f_group_norm(self.groups, Some(&self.weight), Some(&self.bias), 1e-5, true);
        }
        self.normalize(x, &self.statistics(&Maps::Whole(x.shallow_clone()))?)
    }

    /// Normalizes maps, or some of their planes, by the statistics of all of them.
    pub fn normalize(&self, x: &Tensor, of: &GroupStatistics) -> Result<Tensor, TchError> {
        self.normalize_channels(x, of, 0)
    }

    /// As [`GroupNorm::normalize`], where `x` has the channels from `first` on.
    pub fn normalize_channels(
        &self,
        x: &Tensor,
        of: &GroupStatistics,
        first: i64,
    ) -> Result<Tensor, TchError> {
        let part = |values: &Tensor| values.f_narrow(0, first, x.size()[1]);
        let (weight, bias) = (Some(part(&self.weight)?), Some(part(&self.bias)?));
        let (mean, variance) = (Some(part(&of.mean)?), Some(part(&of.variance)?));
        x.f_batch_norm(weight, bias, mean, variance, false, 0.0, 1e-5, true)
    }

    pub fn record(&self, graph: &mut Graph, x: Value) -> Value {
        graph.push(Function::GroupNorm { name: self.name.clone(), groups: self.groups }, [x])
    }

    /// Mean and variance of the group of each channel, of maps in float32 whose voxels lie
    /// one after the other.
    pub fn statistics(&self, maps: &Maps) -> Result<GroupStatistics, TchError> {
        let size = maps.size();
        let channels = size[1];
        let sums = Tensor::f_zeros([2, channels], (Kind::Double, Device::Cpu))?;
        maps.for_each_piece(|piece, first, voxels| {
            let width = piece.size()[1];
            let piece = sum(&piece.f_view([-1])?, width)?.f_mul_scalar(voxels)?;
            sums.f_narrow(1, first, width)?.f_add_(&piece).map(|_| ())
        })?;
        let sums = sums.f_view([2, self.groups, -1])?;
        let count = (size[2..].iter().product::<i64>() * channels / self.groups) as f64;
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
        Ok(GroupStatistics { mean: each(mean)?, variance: each(variance)? })
    }
}

/// Mean and variance of each channel's group, each (C), float32.
#[derive(Debug)]
pub struct GroupStatistics {
    mean: Tensor,
    variance: Tensor,
}

/// The sums of values and of their squares, (2, channels), float64, of values in the order
/// of voxels, channels fastest.
fn sum(values: &Tensor, channels: i64) -> Result<Tensor, TchError> {
    // Rows of several voxels, long enough for the processor's registers.
    let row = channels * (64 / channels).max(1);
    let piece = row * (PIECE / row).max(1);
    let all = values.size()[0];
    let double = (Kind::Double, Device::Cpu);
    let sums = Tensor::f_zeros([2, channels], double)?;
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
    Ok(sums)
}

/// `torch.nn.BatchNorm3d`, eps 1e-5, momentum 0.1.
#[derive(Debug)]
pub struct BatchNorm {
    name: String,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    batches: Tensor,
}

impl BatchNorm {
    pub(super) fn new(builder: &mut Builder<'_>, channels: i64) -> Result<Self, TchError> {
        Ok(BatchNorm {
            name: builder.name(),
            weight: builder.constant("weight", channels, 1.0)?,
            bias: builder.constant("bias", channels, 0.0)?,
            running_mean: builder.buffer("running_mean", channels, 0.0)?,
            running_var: builder.buffer("running_var", channels, 1.0)?,
            batches: builder.counter("num_batches_tracked")?,
        })
    }

    pub fn record(&self, graph: &mut Graph, x: Value) -> Value {
        graph.push(Function::BatchNorm { name: self.name.clone() }, [x])
    }

    pub fn forward(&self, x: &Tensor, training: bool) -> Result<Tensor, TchError> {
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
