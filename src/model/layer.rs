//! One convolution with its norm and non-linearity, in any order.

use std::ops::Range;

use tch::{TchError, Tensor};

use crate::ffi::tensor::leaky_relu_;

use super::conv::Conv;
use super::graph::{Function, Graph, Value};
use super::maps::{Maps, empty_channels_last, narrow_planes, slabs};
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
    /// Single values become 0.
    Dropout,
    /// Whole channels become 0.
    ChannelDropout,
}

/// The letters of an order, as far as all networks know them.
pub const LETTERS: &str = "cgbrle";
/// With those of dropout.
pub const DROPOUT_LETTERS: &str = "cgbrledD";

impl Operation {
    fn is_non_linearity(self) -> bool {
        matches!(self, Operation::Relu | Operation::LeakyRelu | Operation::Elu)
    }
}

/// The operations of a layer, such as `gcr`: group norm, convolution, ReLU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order(Vec<Operation>);

impl Order {
    /// Reads an order made of the letters `known`.
    ///
    /// # Errors
    /// Other letters, letters that stand twice, and orders that begin with a
    /// non-linearity or have no convolution.
    pub fn parse(letters: &str, known: &str) -> Result<Self, String> {
        let mut operations = Vec::new();
        for letter in letters.chars() {
            let operation = match letter {
                'c' => Operation::Conv,
                'g' => Operation::GroupNorm,
                'b' => Operation::BatchNorm,
                'r' => Operation::Relu,
                'l' => Operation::LeakyRelu,
                'e' => Operation::Elu,
                'd' if known.contains('d') => Operation::Dropout,
                'D' if known.contains('D') => Operation::ChannelDropout,
                other => {
                    let dropout = match known.contains('d') {
                        true => ", d (dropout), D (dropout of channels)",
                        false => "",
                    };
                    return Err(format!(
                        "'{other}' in '{letters}' is no operation; known are c (convolution), \
                         g (group norm), b (batch norm), r (ReLU), l (leaky ReLU), e (ELU){dropout}"
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
    /// Of values, or of whole channels.
    Dropout {
        of_channels: bool,
    },
}

impl Layer {
    /// Whether, in prediction, a plane of the result depends on one plane alone.
    fn is_local(&self) -> bool {
        !matches!(self, Layer::Conv(_) | Layer::GroupNorm(_))
    }
}

/// A group norm at the beginning of steps, and the steps that follow.
fn split_norm(steps: &[Layer]) -> (Option<&GroupNorm>, &[Layer]) {
    match steps.split_first() {
        Some((Layer::GroupNorm(norm), rest)) => (Some(norm), rest),
        _ => (None, steps),
    }
}

/// The reference's `SingleConv`.
#[derive(Debug)]
pub struct ConvUnit {
    steps: Vec<Layer>,
    leaky_slope: f64,
    dropout: f64,
}

/// What all convolution units of a network have in common.
#[derive(Clone, Debug)]
pub struct UnitSpec {
    pub order: Order,
    pub num_groups: i64,
    pub kernel: [i64; 3],
    pub padding: [i64; 3],
    /// Slope of the leaky ReLU (`l`) below 0.
    pub leaky_slope: f64,
    /// Probability with which dropout (`d`, `D`) sets values to 0 in training.
    pub dropout: f64,
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
                Operation::Dropout => Layer::Dropout { of_channels: false },
                Operation::ChannelDropout => Layer::Dropout { of_channels: true },
                non_linearity => Layer::NonLinearity(non_linearity),
            });
        }
        Ok(ConvUnit { steps, leaky_slope: spec.leaky_slope, dropout: spec.dropout })
    }

    /// (N, C_in, D, H, W) to (N, C_out, D', H', W').
    pub fn forward(&self, x: impl Into<Maps>, training: bool) -> Result<Tensor, TchError> {
        let x = x.into();
        let in_slabs = !training && x.suit_slabs()?;
        let conv = self.steps.iter().position(|step| matches!(step, Layer::Conv(_)));
        match conv {
            Some(at) if in_slabs && self.steps[..at].iter().skip(1).all(Layer::is_local) => {
                self.forward_in_slabs(x, at, slabs)
            }
            _ => self.run(&self.steps, x.whole()?, training),
        }
    }

    /// As [`ConvUnit::forward`] in prediction, some planes at a time: `slabs` says which, for
    /// maps of a size; `conv` is the place of the convolution among the steps. Besides what
    /// goes in and what comes out, there are only those planes in memory.
    fn forward_in_slabs(
        &self,
        x: Maps,
        conv: usize,
        slabs: impl Fn(&[i64]) -> Vec<Range<i64>>,
    ) -> Result<Tensor, TchError> {
        let (before, after) = self.steps.split_at(conv);
        let Some((Layer::Conv(conv), after)) = after.split_first() else {
            return self.run(&self.steps, x.whole()?, false);
        };
        let (norm, before) = split_norm(before);
        let statistics = norm.map(|norm| norm.statistics(&x)).transpose()?;
        // Channels from `first` on.
        let prepared = |maps: Tensor, first: i64| {
            let maps = match norm.zip(statistics.as_ref()) {
                Some((norm, of)) => norm.normalize_channels(&maps, of, first)?,
                None => maps,
            };
            self.run(before, maps, false)
        };
        // What is done to single voxels can be done before they are shown several times.
        let single = before.iter().all(|step| matches!(step, Layer::NonLinearity(_)));
        let doubled = match &x {
            Maps::Joined(joined) if single && conv.sees_three() && joined.is_doubled() => {
                let (skip, below) = joined.parts();
                Some((joined, prepared(below.shallow_clone(), skip.size()[1])?))
            }
            _ => None,
        };
        let local = after.iter().take_while(|step| step.is_local()).count();
        let (local, mut left) = after.split_at(local);

        let mut size = x.size();
        let depth = size[2];
        size[2] = conv.depth(depth);
        let mut result = None;
        for slab in slabs(&size) {
            let planes = match &doubled {
                Some((joined, below)) => conv.forward_doubled_planes(
                    &slab,
                    depth,
                    |planes| prepared(narrow_planes(joined.parts().0, planes)?, 0),
                    |planes| joined.planes_of(below, planes),
                )?,
                None => {
                    conv.forward_planes(&slab, depth, |planes| prepared(x.planes(planes)?, 0))?
                }
            };
            let planes = self.run(local, planes, false)?;
            if planes.size()[2] == size[2] {
                result = Some(planes);
                break;
            }
            let whole = match &result {
                Some(whole) => whole,
                None => {
                    let shape = planes.size();
                    let shape = [1, shape[1], size[2], shape[3], shape[4]];
                    result.insert(empty_channels_last(shape, &planes)?)
                }
            };
            whole.f_narrow(2, slab.start, slab.end - slab.start)?.f_copy_(&planes)?;
        }
        drop(doubled);
        drop(x);
        let Some(mut result) = result else {
            return Err(TchError::Shape("a convolution of no planes".into()));
        };
        // What a group norm changes is written where it was read.
        while let (Some(norm), rest) = split_norm(left) {
            let whole = Maps::Whole(result);
            let statistics = norm.statistics(&whole)?;
            let local = rest.iter().take_while(|step| step.is_local()).count();
            let (local, rest) = rest.split_at(local);
            for slab in slabs(&whole.size()) {
                let mut place = whole.planes(slab)?;
                let planes = self.run(local, norm.normalize(&place, &statistics)?, false)?;
                place.f_copy_(&planes)?;
            }
            (result, left) = (whole.whole()?, rest);
        }
        Ok(result)
    }

    fn run(&self, steps: &[Layer], mut x: Tensor, training: bool) -> Result<Tensor, TchError> {
        for step in steps {
            x = match step {
                Layer::Conv(conv) => conv.forward(&x)?,
                Layer::GroupNorm(norm) => norm.forward(&x, training)?,
                Layer::BatchNorm(norm) => norm.forward(&x, training)?,
                Layer::NonLinearity(operation) => activate(x, *operation, self.leaky_slope)?,
                Layer::Dropout { .. } if !training || self.dropout == 0.0 => x,
                Layer::Dropout { of_channels: false } => x.f_dropout(self.dropout, true)?,
                Layer::Dropout { of_channels: true } => x.f_feature_dropout(self.dropout, true)?,
            };
        }
        Ok(x)
    }

    pub fn record(&self, graph: &mut Graph, mut x: Value) -> Value {
        for step in &self.steps {
            x = match step {
                Layer::Conv(conv) => conv.record(graph, x),
                Layer::GroupNorm(norm) => norm.record(graph, x),
                Layer::BatchNorm(norm) => norm.record(graph, x),
                Layer::NonLinearity(operation) => {
                    record_activation(graph, x, *operation, self.leaky_slope)
                }
                Layer::Dropout { .. } => x,
            };
        }
        x
    }
}

/// As [`activate`].
pub fn record_activation(graph: &mut Graph, x: Value, operation: Operation, slope: f64) -> Value {
    let function = match operation {
        Operation::LeakyRelu => Function::LeakyRelu { slope },
        Operation::Elu => Function::Elu,
        _ => Function::Relu,
    };
    graph.push(function, [x])
}

/// The non-linearity in place: `x` is the output of a layer that does not need
/// it for its gradient. `slope` is that of the leaky ReLU.
pub fn activate(mut x: Tensor, operation: Operation, slope: f64) -> Result<Tensor, TchError> {
    match operation {
        Operation::LeakyRelu => leaky_relu_(x, slope),
        Operation::Elu => x.f_elu_(),
        _ => x.f_relu_(),
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::device::MemoryFormat;
    use crate::model::state::{InitialWeights, State, TensorOptions};

    fn unit(order: &str, kernel: [i64; 3], padding: [i64; 3]) -> ConvUnit {
        let storage = TensorOptions {
            kinds: Kind::Float.into(),
            device: Device::Cpu,
            format: MemoryFormat::ChannelsLast,
            weights: InitialWeights::Drawn,
            planar: false,
        };
        let order = Order::parse(order, "gbcrled").unwrap();
        let spec =
            UnitSpec { order, num_groups: 2, kernel, padding, leaky_slope: 0.1, dropout: 0.0 };
        let mut state = State::default();
        let unit = ConvUnit::new(&mut Builder::new(&mut state, storage), (6, 4), &spec).unwrap();
        for (_, tensor) in state.parameters().filter(|(name, _)| name.contains("norm")) {
            tch::no_grad(|| tensor.shallow_clone().uniform_(0.5, 2.0));
        }
        unit
    }

    fn maps(shape: [i64; 5]) -> Tensor {
        let one = Tensor::zeros([1], (Kind::Float, Device::Cpu));
        empty_channels_last(shape, &one).unwrap().uniform_(-1.0, 2.0)
    }

    /// Slabs of three planes.
    fn threes(size: &[i64]) -> Vec<Range<i64>> {
        (0..(size[2] + 2) / 3).map(|at| 3 * at..(3 * at + 3).min(size[2])).collect()
    }

    #[test]
    fn planes_at_a_time_give_what_the_whole_gives() {
        tch::manual_seed(3);
        let kernels = [([3, 3, 3], [1, 1, 1]), ([3, 3, 3], [0, 0, 0]), ([1, 3, 3], [0, 1, 1])];
        for order in ["gcr", "cgr", "cr", "bcl", "cge", "gc"] {
            for (kernel, padding) in kernels {
                let unit = unit(order, kernel, padding);
                let at = unit.steps.iter().position(|step| matches!(step, Layer::Conv(_))).unwrap();
                // Doubled along every axis, in the plane alone, and not at all.
                for below in [[4, 4, 3], [3, 4, 3], [3, 3, 3]] {
                    let [d, h, w] = below;
                    let (skip, below) = (maps([1, 2, 8, 8, 6]), maps([1, 4, d, h, w]));
                    let joined = || Maps::joined(skip.shallow_clone(), below.shallow_clone());
                    let whole = tch::no_grad(|| unit.run(&unit.steps, joined().whole()?, false));
                    let whole = whole.unwrap();
                    let as_one = Maps::Whole(joined().whole().unwrap());
                    for (maps, what) in [(joined(), "joined"), (as_one, "whole")] {
                        let parts = tch::no_grad(|| unit.forward_in_slabs(maps, at, threes));
                        let error = (&whole - parts.unwrap()).abs().max().double_value(&[]);
                        assert!(error < 1e-5, "{order} {kernel:?} {what} {d}: {error}");
                    }
                }
            }
        }
    }
}
