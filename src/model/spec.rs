//! The `model` section of a configuration, checked.

use crate::config::{ConfigError, Node, Parameter, YamlValue, nearest};

use super::layer::Order;

/// The keys of the `model` section.
pub const PARAMETERS: &[Parameter] = &[
    Parameter::text("name", "", "`UNet3D`, `ResidualUNet3D` or `UNet2D`").required(),
    Parameter::integer("in_channels", 1, "channels of the raw volume").at_least(1.0).required(),
    Parameter::integer("out_channels", 1, "channels of the network's output")
        .at_least(1.0)
        .required(),
    Parameter::any(
        "f_maps",
        "feature maps of the first level (64), doubled at each level, or a list of them all",
    ),
    Parameter::integer("num_levels", 4, "levels when `f_maps` is one number (ResidualUNet3D: 5)")
        .within(1.0, 16.0)
        .optional(),
    Parameter::text("layer_order", "gcr", "the operations of a layer: c conv, g, b norm, r, l, e"),
    Parameter::integer("num_groups", 8, "groups of the group norm").at_least(1.0),
    Parameter::flag("final_sigmoid", true, "sigmoid over the output, otherwise softmax"),
    Parameter::flag("is_segmentation", true, "false: the output is taken as it is"),
    Parameter::per_axis("conv_kernel_size", &[3, 3, 3], "size of the convolutions").at_least(1.0),
    Parameter::per_axis("pool_kernel_size", &[2, 2, 2], "size of the max pooling").at_least(1.0),
    Parameter::per_axis("conv_padding", &[1, 1, 1], "zero padding of the convolutions"),
    Parameter::any("output_heads", "not supported"),
    Parameter::any("testing", "accepted, unused"),
];

/// The networks this program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Double convolutions, nearest upsampling, concatenation.
    UNet3D,
    /// Residual blocks, transposed convolutions, summation.
    ResidualUNet3D,
    /// `UNet3D` with kernels that do not reach across z.
    UNet2D,
}

const ARCHITECTURES: &[(&str, Architecture)] = &[
    ("UNet3D", Architecture::UNet3D),
    ("ResidualUNet3D", Architecture::ResidualUNet3D),
    ("UNet2D", Architecture::UNet2D),
];

/// Everything that fixes the shape of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkSpec {
    pub architecture: Architecture,
    pub in_channels: i64,
    pub out_channels: i64,
    /// Feature maps of each level, from the top.
    pub f_maps: Vec<i64>,
    pub order: Order,
    pub num_groups: i64,
    pub final_sigmoid: bool,
    pub is_segmentation: bool,
    pub conv_kernel: [i64; 3],
    pub pool_kernel: [i64; 3],
    pub conv_padding: [i64; 3],
}

impl NetworkSpec {
    /// Reads the `model` section.
    pub fn read(node: &Node) -> Result<Self, ConfigError> {
        let section = node.section(PARAMETERS)?;
        let name = section.text("name");
        let architecture = ARCHITECTURES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, architecture)| *architecture)
            .ok_or_else(|| {
                let known: Vec<_> = ARCHITECTURES.iter().map(|(known, _)| *known).collect();
                let hint = nearest(name, known.iter().copied())
                    .map(|near| format!("; is `{near}` meant?"))
                    .unwrap_or_default();
                section.error(
                    "name",
                    format!("unknown network '{name}', known are {}{hint}", known.join(", ")),
                )
            })?;
        if section.child("output_heads").is_some_and(|heads| heads.value != YamlValue::Integer(1)) {
            return Err(section.error(
                "output_heads",
                "networks with several outputs are not supported; remove the key",
            ));
        }
        let levels = section.maybe_size("num_levels").unwrap_or(match architecture {
            Architecture::ResidualUNet3D => 5,
            _ => 4,
        });
        let f_maps = read_f_maps(&section, levels)?;
        let order = Order::parse(section.text("layer_order"))
            .map_err(|message| section.error("layer_order", message))?;
        let mut spec = NetworkSpec {
            architecture,
            in_channels: section.integer("in_channels"),
            out_channels: section.integer("out_channels"),
            f_maps,
            order,
            num_groups: section.integer("num_groups"),
            final_sigmoid: section.flag("final_sigmoid"),
            is_segmentation: section.flag("is_segmentation"),
            conv_kernel: section.per_axis("conv_kernel_size"),
            pool_kernel: section.per_axis("pool_kernel_size"),
            conv_padding: section.per_axis("conv_padding"),
        };
        match architecture {
            Architecture::UNet2D => {
                spec.conv_kernel = [1, 3, 3];
                spec.pool_kernel = [1, 2, 2];
                if spec.conv_padding == [1, 1, 1] {
                    spec.conv_padding = [0, 1, 1];
                }
            }
            // The reference's residual block takes no padding of its own.
            Architecture::ResidualUNet3D => spec.conv_padding = [1, 1, 1],
            Architecture::UNet3D => {}
        }
        spec.check_groups().map_err(|message| section.error("num_groups", message))?;
        Ok(spec)
    }

    /// Channels that go into and out of each convolution of the network.
    pub(super) fn conv_channels(&self) -> Vec<(i64, i64)> {
        let residual = self.architecture == Architecture::ResidualUNet3D;
        let mut channels = Vec::new();
        let mut input = self.in_channels;
        for &output in &self.f_maps {
            if residual {
                channels.extend([(input, output), (output, output), (output, output)]);
            } else {
                let middle = (output / 2).max(input);
                channels.extend([(input, middle), (middle, output)]);
            }
            input = output;
        }
        for pair in self.f_maps.windows(2).rev() {
            let output = pair[0];
            if residual {
                channels.extend([(output, output); 3]);
            } else {
                channels.extend([(pair[0] + pair[1], output), (output, output)]);
            }
        }
        channels
    }

    fn check_groups(&self) -> Result<(), String> {
        let Some(before) = self.order.group_norm_before_conv() else { return Ok(()) };
        for (input, output) in self.conv_channels() {
            let channels = if before { input } else { output };
            if channels >= self.num_groups && channels % self.num_groups != 0 {
                return Err(format!(
                    "{} groups do not divide the {channels} channels of a group norm; \
                     choose `num_groups` or `f_maps` so that they do",
                    self.num_groups
                ));
            }
        }
        Ok(())
    }
}

fn read_f_maps(
    section: &crate::config::Section<'_>,
    levels: usize,
) -> Result<Vec<i64>, ConfigError> {
    let wrong = "a number of feature maps, or a list with one number for each level, is wanted";
    let number = |node: &Node| match node.value {
        YamlValue::Integer(count) if (1..=1 << 20).contains(&count) => Ok(count),
        _ => Err(node.error(wrong)),
    };
    match section.child("f_maps") {
        None => Ok((0..levels).map(|level| 64 << level).collect()),
        Some(node) => match &node.value {
            YamlValue::List(items) if !items.is_empty() => items.iter().map(number).collect(),
            YamlValue::List(_) => Err(node.error(wrong)),
            _ => {
                let first = number(node)?;
                Ok((0..levels).map(|level| first << level).collect())
            }
        },
    }
}
