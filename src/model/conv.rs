//! Convolutions, which may be computed in another type than the rest of a network.

use std::ops::Range;
use std::sync::OnceLock;

use tch::{Device, Kind, TchError, Tensor};

use crate::device::Kinds;

use super::graph::{Function, Graph, Value};
use super::state::Builder;

/// A 3D convolution with stride 1; weight (out, in, kz, ky, kx), or (out, in, ky, kx)
/// in networks of single planes.
#[derive(Debug)]
pub struct Conv {
    name: String,
    weight: Tensor,
    bias: Option<Tensor>,
    padding: [i64; 3],
    kinds: Kinds,
}

impl Conv {
    pub(super) fn new(
        builder: &mut Builder<'_>,
        channels: (i64, i64),
        kernel: [i64; 3],
        padding: [i64; 3],
        bias: bool,
    ) -> Result<Self, TchError> {
        let shape = weight_shape(builder, [channels.1, channels.0], kernel);
        let fan_in = channels.0 * kernel.iter().product::<i64>();
        let weight = builder.fan_in_uniform("weight", &shape, fan_in)?;
        let bias =
            bias.then(|| builder.fan_in_uniform("bias", &[channels.1], fan_in)).transpose()?;
        Ok(Conv { name: builder.name(), weight, bias, padding, kinds: builder.kinds() })
    }

    pub fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        self.convolve(x, &self.weight, self.bias.as_ref(), self.padding)
    }

    fn convolve(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        padding: [i64; 3],
    ) -> Result<Tensor, TchError> {
        convolve(self.kinds, x, weight, bias, |x, weight, bias| {
            if is_left_to_slow_conv(x)? && has_onednn() {
                return x.f_mkldnn_convolution(weight, bias, padding, [1; 3], [1; 3], 1);
            }
            x.f_conv3d(weight, bias, [1, 1, 1], padding, [1, 1, 1], 1)
        })
    }

    /// Length along z of what comes out of maps with so many planes.
    pub fn depth(&self, planes: i64) -> i64 {
        planes + 2 * self.padding[0] + 1 - self.kernel_depth()
    }

    /// Planes `out` of the result, where `input` gives planes of maps that have `depth`.
    pub fn forward_planes(
        &self,
        out: &Range<i64>,
        depth: i64,
        input: impl Fn(Range<i64>) -> Result<Tensor, TchError>,
    ) -> Result<Tensor, TchError> {
        let [_, y, x] = self.padding;
        let maps = self.planes_seen(out, depth, input)?;
        self.convolve(&maps, &self.weight, self.bias.as_ref(), [0, y, x])
    }

    /// What the kernel sees for planes `out` of the result, with the zeros around the maps.
    fn planes_seen(
        &self,
        out: &Range<i64>,
        depth: i64,
        input: impl Fn(Range<i64>) -> Result<Tensor, TchError>,
    ) -> Result<Tensor, TchError> {
        let low = out.start - self.padding[0];
        let high = out.end - 1 - self.padding[0] + self.kernel_depth();
        let maps = input(low.max(0)..high.min(depth))?;
        match [(-low).max(0), (high - depth).max(0)] {
            [0, 0] => Ok(maps),
            [before, after] => maps.f_constant_pad_nd([0, 0, 0, 0, before, after]),
        }
    }

    /// Whether [`Conv::forward_doubled_planes`] can compute it.
    pub fn sees_three(&self) -> bool {
        let size = self.weight.size();
        size[size.len() - 2..] == [3, 3] && self.padding[1..] == [1, 1]
    }

    /// As [`Conv::forward_planes`] on maps of which the first channels come from `skip` and
    /// the others from `below`, whose voxels each stand for a square of 2 × 2 in the plane.
    ///
    /// Within such a square, three neighbours along an axis are two voxels of `below`: of
    /// the nine weights of a plane four are left, which are sums of them, other ones for
    /// each of the square's four places.
    pub fn forward_doubled_planes(
        &self,
        out: &Range<i64>,
        depth: i64,
        skip: impl Fn(Range<i64>) -> Result<Tensor, TchError>,
        below: impl Fn(Range<i64>) -> Result<Tensor, TchError>,
    ) -> Result<Tensor, TchError> {
        let maps = self.planes_seen(out, depth, skip)?;
        let first = maps.size()[1];
        let weight = self.weight.f_narrow(1, 0, first)?;
        let [_, y, x] = self.padding;
        let result = self.convolve(&maps, &weight, self.bias.as_ref(), [0, y, x])?;
        drop(maps);

        let maps = self.planes_seen(out, depth, below)?;
        let [h, w] = [3, 4].map(|axis| maps.size()[axis]);
        let weight = self.weight.f_narrow(1, first, maps.size()[1])?;
        for y in 0..2 {
            for x in 0..2 {
                let weight = two_of_three(&two_of_three(&weight, -2, y)?, -1, x)?;
                let part = self.convolve(&maps, &weight, None, [0, 1, 1])?;
                let part = part.f_narrow(3, y, h)?.f_narrow(4, x, w)?;
                let _ = result.f_slice(3, y, None, 2)?.f_slice(4, x, None, 2)?.f_add_(&part)?;
            }
        }
        Ok(result)
    }

    fn kernel_depth(&self) -> i64 {
        match self.weight.size()[..] {
            [_, _, depth, _, _] => depth,
            _ => 1,
        }
    }

    pub fn record(&self, graph: &mut Graph, x: Value) -> Value {
        let (name, bias) = (self.name.clone(), self.bias.is_some());
        graph.push(Function::Conv { name, bias, padding: self.padding }, [x])
    }
}

/// Three weights along an axis as the two that are left where neighbours are the same
/// voxel: at place 0 of two the second and third are, at place 1 the first and second.
fn two_of_three(weight: &Tensor, axis: i64, place: i64) -> Result<Tensor, TchError> {
    let at = |index: i64| weight.f_narrow(axis, index, 1);
    let pair = match place {
        0 => [at(0)?, at(1)?.f_add(&at(2)?)?],
        _ => [at(0)?.f_add(&at(1)?)?, at(2)?],
    };
    Tensor::f_cat(&pair, axis)
}

/// The shape of a weight: `ends` are its first two axes.
fn weight_shape(builder: &Builder<'_>, ends: [i64; 2], kernel: [i64; 3]) -> Vec<i64> {
    let axes = if builder.planar() { &kernel[1..] } else { &kernel[..] };
    [&ends, axes].concat()
}

/// The transposed convolution of a residual decoder: stride 2, padding 1; weight
/// (in, out, kz, ky, kx), or (in, out, ky, kx) in networks of single planes, whose
/// planes stay as many as they are.
#[derive(Debug)]
pub struct TransposedConv {
    name: String,
    weight: Tensor,
    bias: Option<Tensor>,
    kernel: [i64; 3],
    planar: bool,
    kinds: Kinds,
}

impl TransposedConv {
    pub(super) fn new(
        builder: &mut Builder<'_>,
        channels: (i64, i64),
        kernel: [i64; 3],
        bias: bool,
    ) -> Result<Self, TchError> {
        let shape = weight_shape(builder, [channels.0, channels.1], kernel);
        let fan_in = channels.1 * kernel.iter().product::<i64>();
        let weight = builder.fan_in_uniform("weight", &shape, fan_in)?;
        let bias =
            bias.then(|| builder.fan_in_uniform("bias", &[channels.1], fan_in)).transpose()?;
        let (name, planar, kinds) = (builder.name(), builder.planar(), builder.kinds());
        Ok(TransposedConv { name, weight, bias, kernel, planar, kinds })
    }

    /// Length of what comes out for `length` voxels along an axis; an output
    /// padding adds up to one voxel to it.
    pub fn shortest(length: i64, kernel: i64) -> i64 {
        (length - 1) * 2 - 2 + kernel
    }

    /// (N, C_in, d, h, w) to (N, C_out, D, H, W) with `size` (D, H, W).
    pub fn forward(&self, x: &Tensor, size: &[i64]) -> Result<Tensor, TchError> {
        let low = &x.size()[2..];
        let extra: Vec<i64> =
            (0..3).map(|a| size[a] - Self::shortest(low[a], self.kernel[a])).collect();
        self.transpose(x, &extra)
    }

    /// (N, C_in, d, h, w) to (N, C_out, 2d − 1, 2h − 1, 2w − 1) with a kernel of 3, the
    /// depth unchanged in networks of single planes.
    pub fn forward_shortest(&self, x: &Tensor) -> Result<Tensor, TchError> {
        self.transpose(x, &[0, 0, 0])
    }

    /// As [`TransposedConv::forward`] where the second of `inputs` has the size, else as
    /// [`TransposedConv::forward_shortest`].
    pub fn record<const N: usize>(&self, graph: &mut Graph, inputs: [Value; N]) -> Value {
        let (name, bias) = (self.name.clone(), self.bias.is_some());
        graph.push(Function::TransposedConv { name, bias, kernel: self.kernel }, inputs)
    }

    fn transpose(&self, x: &Tensor, extra: &[i64]) -> Result<Tensor, TchError> {
        let (stride, padding) = if self.planar { ([1, 2, 2], [0, 1, 1]) } else { ([2; 3], [1; 3]) };
        convolve(self.kinds, x, &self.weight, self.bias.as_ref(), |x, weight, bias| {
            x.f_conv_transpose3d(weight, bias, stride, padding, extra, 1, [1, 1, 1])
        })
    }
}

/// Whether torch would not give this input to oneDNN, whose convolutions take a
/// third to a fifth of the time: it has a single patch and few channels or voxels
/// (`ConvParams::use_mkldnn` in torch 2.11).
fn is_left_to_slow_conv(x: &Tensor) -> Result<bool, TchError> {
    let size = x.size();
    Ok(x.device() == Device::Cpu
        && x.f_kind()? == Kind::Float
        && size[0] == 1
        && size[..4].iter().product::<i64>() <= 20_480)
}

/// Whether libtorch was built with oneDNN.
fn has_onednn() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let one = Tensor::ones([1, 1, 1, 1, 1], (Kind::Float, Device::Cpu));
        one.f_mkldnn_convolution(&one, None::<&Tensor>, [0; 3], [1; 3], [1; 3], 1).is_ok()
    })
}

/// Convolves in the type for convolutions; the result is of the type of tensors.
fn convolve(
    kinds: Kinds,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    run: impl Fn(&Tensor, &Tensor, Option<&Tensor>) -> Result<Tensor, TchError>,
) -> Result<Tensor, TchError> {
    let Kinds { tensors, convolutions } = kinds;
    let plane;
    let weight = match weight.dim() {
        4 => {
            plane = weight.f_unsqueeze(2)?;
            &plane
        }
        _ => weight,
    };
    if tensors == convolutions {
        return run(x, weight, bias);
    }
    let bias = bias.map(|bias| bias.f_to_kind(convolutions)).transpose()?;
    run(&x.f_to_kind(convolutions)?, &weight.f_to_kind(convolutions)?, bias.as_ref())?
        .f_to_kind(tensors)
}
