//! What a family of networks is, and the keys that all families take.

use std::fmt;
use std::sync::Arc;

use crate::config::{ConfigError, Entry, Kind, Parameter, Section};

use super::block::BlockKind;
use super::join::JoinKind;

/// One family of U-Nets: its name, its keys and what its networks are made of.
pub struct Family {
    pub name: &'static str,
    pub meaning: &'static str,
    pub parameters: &'static [Parameter],
    /// Number of levels when `f_maps` is one number and `num_levels` is absent.
    pub levels: usize,
    /// Reads the family's own keys.
    ///
    /// # Errors
    /// Keys that contradict each other.
    pub anatomy: fn(&Section<'_>) -> Result<Anatomy, ConfigError>,
}

/// What the networks of a family are made of.
#[derive(Clone, Debug)]
pub struct Anatomy {
    /// The basic module of every level.
    pub block: Arc<dyn BlockKind>,
    /// How decoders join their level with the one below.
    pub join: Arc<dyn JoinKind>,
    /// Kernel and zero padding of the convolutions along z, y and x.
    pub kernel: [i64; 3],
    pub padding: [i64; 3],
    /// Kernel and stride of the max pooling between levels.
    pub pool: [i64; 3],
    /// Whether its layers are 2D: weights have no z axis, and planes see nothing of each
    /// other.
    pub planar: bool,
    /// Letters that `layer_order` may have.
    pub letters: &'static str,
    /// Slope below 0 of the leaky ReLU (`l`).
    pub leaky_slope: f64,
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Entry for Family {
    fn name(&self) -> &'static str {
        self.name
    }

    fn meaning(&self) -> &'static str {
        self.meaning
    }

    fn parameters(&self) -> &'static [Parameter] {
        self.parameters
    }
}

/// More channels than that no volume has.
const CHANNELS: f64 = 65536.0;

/// The keys that all families take.
pub(super) const SHARED: &[Parameter] = &[
    IN_CHANNELS,
    OUT_CHANNELS,
    F_MAPS,
    NUM_LEVELS,
    Parameter::text("layer_order", "gcr", "the operations of a layer: c conv, g, b norm, r, l, e"),
    NUM_GROUPS,
    FINAL_SIGMOID,
    IS_SEGMENTATION,
    Parameter::any("output_heads", "not supported"),
    Parameter::any("testing", "accepted, unused"),
];

/// The keys that all families of upstream take.
pub(super) const UPSTREAM_SHARED: &[Parameter] = &[
    IN_CHANNELS,
    OUT_CHANNELS,
    F_MAPS,
    NUM_LEVELS,
    Parameter::text(
        "layer_order",
        "gcr",
        "the operations of a layer: c conv, g, b norm, r, l, e, d dropout, D dropout of channels",
    ),
    NUM_GROUPS,
    FINAL_SIGMOID,
    IS_SEGMENTATION,
];

const IN_CHANNELS: Parameter = Parameter::integer("in_channels", 1, "channels of the raw volume")
    .within(1.0, CHANNELS)
    .required();
const OUT_CHANNELS: Parameter =
    Parameter::integer("out_channels", 1, "channels of the network's output")
        .within(1.0, CHANNELS)
        .required();
const F_MAPS: Parameter = Parameter::custom(
    "f_maps",
    &[Kind::Integer { min: 1, max: 1 << 20 }, Kind::Integers { min: 1, max: 1 << 20, len: 0 }],
    "feature maps of the first level (64), doubled at each level, or a list of them all",
);
const NUM_LEVELS: Parameter = Parameter::integer(
    "num_levels",
    4,
    "number of levels when `f_maps` is one number; each network has its own default",
)
.within(1.0, 16.0)
.optional();
const NUM_GROUPS: Parameter =
    Parameter::integer("num_groups", 8, "groups of the group norm").at_least(1.0);
const FINAL_SIGMOID: Parameter =
    Parameter::flag("final_sigmoid", true, "sigmoid over the output, otherwise softmax");
const IS_SEGMENTATION: Parameter =
    Parameter::flag("is_segmentation", true, "false: the output is taken as it is");

pub(super) const CONV_KERNEL_SIZE: Parameter =
    Parameter::per_axis("conv_kernel_size", &[3, 3, 3], "size of the convolutions").at_least(1.0);
pub(super) const POOL_KERNEL_SIZE: Parameter =
    Parameter::per_axis("pool_kernel_size", &[2, 2, 2], "size of the max pooling").at_least(1.0);
pub(super) const CONV_PADDING: Parameter =
    Parameter::per_axis("conv_padding", &[1, 1, 1], "zero padding of the convolutions");
