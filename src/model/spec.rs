//! The `model` section of a configuration, checked.

use crate::config::{ConfigError, Node, Parameter, Section, YamlValue};

use super::NETWORKS;
use super::block::Side;
use super::family::{Anatomy, Family};
use super::layer::{Order, UnitSpec};

/// Everything that fixes the shape of a network.
#[derive(Clone, Debug)]
pub struct NetworkSpec {
    pub family: &'static Family,
    pub anatomy: Anatomy,
    pub in_channels: i64,
    pub out_channels: i64,
    /// Feature maps of each level, from the top.
    pub f_maps: Vec<i64>,
    /// What all convolution units have in common.
    pub unit: UnitSpec,
    pub final_sigmoid: bool,
    pub is_segmentation: bool,
}

/// The names of classes, a key at the top of a configuration.
pub const CLASS_NAMES: Parameter = Parameter::texts(
    "class_names",
    "",
    "names of the output channels, which checkpoints and predictions keep",
)
.optional();

/// The channels of one level's block, and of what a decoder joins.
pub(super) struct Stage {
    /// The level, counted from the top.
    pub level: usize,
    pub side: Side,
    /// Into and out of the block.
    pub channels: (i64, i64),
    /// Decoders: channels of the encoder and of the level below.
    pub joined: Option<(i64, i64)>,
}

impl NetworkSpec {
    /// Reads the `model` section.
    pub fn read(node: &Node) -> Result<Self, ConfigError> {
        let (family, section) = NETWORKS.open(node)?;
        if section.knows("output_heads")
            && section
                .child("output_heads")
                .is_some_and(|heads| heads.value != YamlValue::Integer(1))
        {
            return Err(section.error(
                "output_heads",
                "networks with several outputs are not supported; remove the key",
            ));
        }
        let levels = section.maybe_size("num_levels").unwrap_or(family.levels);
        let anatomy = (family.anatomy)(&section)?;
        let order = Order::parse(section.text("layer_order"), anatomy.letters)
            .map_err(|message| section.error("layer_order", message))?;
        let spec = NetworkSpec {
            family,
            in_channels: section.integer("in_channels"),
            out_channels: section.integer("out_channels"),
            f_maps: read_f_maps(&section, levels)?,
            unit: UnitSpec {
                order,
                num_groups: section.integer("num_groups"),
                kernel: anatomy.kernel,
                padding: anatomy.padding,
                leaky_slope: anatomy.leaky_slope,
                dropout: 0.0,
            },
            final_sigmoid: section.flag("final_sigmoid"),
            is_segmentation: section.flag("is_segmentation"),
            anatomy,
        };
        let join = &spec.anatomy.join;
        join.check_maps(&spec.f_maps).map_err(|message| section.error("f_maps", message))?;
        spec.check_groups().map_err(|message| section.error("num_groups", message))?;
        Ok(spec)
    }

    /// The names of the output channels in [`CLASS_NAMES`] of the top of a configuration;
    /// empty if there are none.
    ///
    /// # Errors
    /// As many names as there are channels are needed.
    pub fn class_names(&self, top: &Section<'_>) -> Result<Vec<String>, ConfigError> {
        let names: Vec<String> =
            top.texts(CLASS_NAMES.name).iter().map(|s| s.to_string()).collect();
        if names.is_empty() || names.len() as i64 == self.out_channels {
            return Ok(names);
        }
        Err(top.error(
            CLASS_NAMES.name,
            format!(
                "{} name(s) for {} output channel(s) (`model.out_channels`): name each of them",
                names.len(),
                self.out_channels
            ),
        ))
    }

    /// The blocks of the network in the order in which they run: encoders from the
    /// top down, then decoders from the bottom up.
    pub(super) fn stages(&self) -> Vec<Stage> {
        let mut stages = Vec::new();
        let mut input = self.in_channels;
        for (level, &output) in self.f_maps.iter().enumerate() {
            let channels = (input, output);
            stages.push(Stage { level, side: Side::Encoder, channels, joined: None });
            input = output;
        }
        for (level, pair) in self.f_maps.windows(2).enumerate().rev() {
            let (skip, below) = (pair[0], pair[1]);
            let channels = (self.anatomy.join.channels(skip, below), skip);
            let joined = Some((skip, below));
            stages.push(Stage { level, side: Side::Decoder, channels, joined });
        }
        stages
    }

    fn check_groups(&self) -> Result<(), String> {
        let UnitSpec { order, num_groups, .. } = &self.unit;
        let Some(before) = order.group_norm_before_conv() else { return Ok(()) };
        for stage in self.stages() {
            for (input, output) in self.anatomy.block.units(stage.side, stage.channels) {
                let channels = if before { input } else { output };
                if channels >= *num_groups && channels % num_groups != 0 {
                    return Err(format!(
                        "{num_groups} groups do not divide the {channels} channels of a group \
                         norm; choose `num_groups` or `f_maps` so that they do"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Largest number of feature maps of a level.
const LARGEST: i64 = 1 << 20;

fn read_f_maps(section: &Section<'_>, levels: usize) -> Result<Vec<i64>, ConfigError> {
    let wrong = "a number of feature maps, or a list with one number for each level, is wanted";
    let number = |node: &Node| match node.value {
        YamlValue::Integer(count) if (1..=LARGEST).contains(&count) => Ok(count),
        _ => Err(node.error(wrong)),
    };
    match section.child("f_maps") {
        None => Ok((0..levels).map(|level| 64 << level).collect()),
        Some(node) => match &node.value {
            YamlValue::List(items) if !items.is_empty() => items.iter().map(number).collect(),
            YamlValue::List(_) => Err(node.error(wrong)),
            _ => {
                let first = number(node)?;
                if first << (levels - 1) > LARGEST {
                    return Err(node.error(format!(
                        "{first} feature maps, doubled at each of {levels} levels, are more than \
                         {LARGEST}; set fewer, or `num_levels`"
                    )));
                }
                Ok((0..levels).map(|level| first << level).collect())
            }
        },
    }
}
