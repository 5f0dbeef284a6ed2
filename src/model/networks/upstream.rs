//! The networks of `wolny/pytorch-3dunet`: plain and residual U-Nets in 3D and 2D.

use std::sync::Arc;

use crate::config::{ConfigError, Kind, Parameter, Section, YamlValue};

use super::super::block::BlockKind;
use super::super::double_conv::DoubleConv;
use super::super::family::{Anatomy, Family};
use super::super::join::{InterpolatedConcatenation, Interpolation, JoinKind, TransposedToSize};
use super::super::layer::DROPOUT_LETTERS;
use super::super::res_net_block::ResNetBlock;

/// [Çiçek et al. 2016](https://arxiv.org/abs/1606.06650), with upsampling in place of
/// transposed convolutions.
pub static UNET3D: Family = Family {
    name: "UNet3D",
    meaning: "double convolutions, upsampling and concatenation; 4 levels unless told otherwise",
    parameters: &[CONV_PADDING, CONV_UPSCALE, UPSAMPLE, DROPOUT_PROB],
    levels: 4,
    anatomy: |section| plain(section, false),
};

/// [Lee et al. 2017](https://arxiv.org/abs/1706.00120).
pub static RESIDUAL_UNET3D: Family = Family {
    name: "ResidualUNet3D",
    meaning: "residual blocks, transposed convolutions and summation; 5 levels unless told \
              otherwise",
    parameters: &[PADDING_UNUSED, CONV_UPSCALE_UNUSED, UPSAMPLE, DROPOUT_UNUSED],
    levels: 5,
    anatomy: |section| residual(section, false, false),
};

/// The residual U-Net with squeeze and excitation after every block.
pub static RESIDUAL_UNET_SE3D: Family = Family {
    name: "ResidualUNetSE3D",
    meaning: "`ResidualUNet3D` with squeeze and excitation after every block",
    parameters: &[PADDING_UNUSED, CONV_UPSCALE_UNUSED, UPSAMPLE, DROPOUT_UNUSED],
    levels: 5,
    anatomy: |section| residual(section, false, true),
};

/// [Ronneberger et al. 2015](https://arxiv.org/abs/1505.04597), with zero padding.
pub static UNET2D: Family = Family {
    name: "UNet2D",
    meaning: "`UNet3D` of 2D layers, on volumes with a single plane or plane by plane",
    parameters: &[CONV_PADDING, CONV_UPSCALE, UPSAMPLE, DROPOUT_PROB],
    levels: 4,
    anatomy: |section| plain(section, true),
};

/// The residual U-Net of single planes.
pub static RESIDUAL_UNET2D: Family = Family {
    name: "ResidualUNet2D",
    meaning: "`ResidualUNet3D` of 2D layers",
    parameters: &[PADDING_UNUSED, CONV_UPSCALE_UNUSED, UPSAMPLE, DROPOUT_UNUSED],
    levels: 5,
    anatomy: |section| residual(section, true, false),
};

const CONV_PADDING: Parameter =
    Parameter::per_axis("conv_padding", &[1, 1, 1], "zero padding of the convolutions");
const PADDING_UNUSED: Parameter =
    Parameter::per_axis("conv_padding", &[1, 1, 1], "accepted, unused: it is always 1");
const CONV_UPSCALE: Parameter = Parameter::integer(
    "conv_upscale",
    2,
    "1: the first convolution of an encoder has all its channels already; otherwise half of them",
);
const CONV_UPSCALE_UNUSED: Parameter = Parameter::integer("conv_upscale", 2, "accepted, unused");
const UPSAMPLE: Parameter = Parameter::choice(
    "upsample",
    "default",
    &["default", "nearest", "trilinear", "bilinear", "area", "deconv"],
    "how decoders grow: `default` is `nearest` and concatenation for plain networks, a transposed \
     convolution and summation for residual ones",
);
const DROPOUT_PROB: Parameter = Parameter::custom(
    "dropout_prob",
    &[Kind::Number { min: 0.0, max: 1.0 }, Kind::Numbers { min: 0.0, max: 1.0, len: 2 }],
    "probability (0.1) with which `d` and `D` of `layer_order` set values to 0, or one for each of \
     the two convolutions",
);
const DROPOUT_UNUSED: Parameter = Parameter::custom(
    "dropout_prob",
    &[Kind::Number { min: 0.0, max: 1.0 }, Kind::Numbers { min: 0.0, max: 1.0, len: 2 }],
    "accepted, unused: it is always 0.1",
);

/// Of double convolutions.
fn plain(section: &Section<'_>, planar: bool) -> Result<Anatomy, ConfigError> {
    let join: Arc<dyn JoinKind> = match section.text("upsample") {
        "deconv" => Arc::new(TransposedToSize { concatenates: true }),
        word => Arc::new(InterpolatedConcatenation(interpolation(section, word, planar)?)),
    };
    let padding = section.per_axis("conv_padding");
    let block = DoubleConv {
        widens_at_once: section.integer("conv_upscale") == 1,
        dropout: dropout(section)?,
    };
    Ok(anatomy(Arc::new(block), join, padding, planar))
}

/// Of residual blocks.
fn residual(section: &Section<'_>, planar: bool, excited: bool) -> Result<Anatomy, ConfigError> {
    let concatenates = match section.text("upsample") {
        "default" => false,
        "deconv" => true,
        other => {
            return Err(section.error(
                "upsample",
                format!(
                    "`{other}` leaves a residual network with channels that do not fit; use \
                     `default`, or `deconv`"
                ),
            ));
        }
    };
    let join = Arc::new(TransposedToSize { concatenates });
    Ok(anatomy(Arc::new(ResNetBlock { excited }), join, [1, 1, 1], planar))
}

fn anatomy(
    block: Arc<dyn BlockKind>,
    join: Arc<dyn JoinKind>,
    padding: [i64; 3],
    planar: bool,
) -> Anatomy {
    // Nothing reaches across planes in 2D.
    let [z, y, x] = padding;
    Anatomy {
        block,
        join,
        kernel: if planar { [1, 3, 3] } else { [3, 3, 3] },
        padding: if planar { [0, y, x] } else { [z, y, x] },
        pool: if planar { [1, 2, 2] } else { [2, 2, 2] },
        planar,
        letters: DROPOUT_LETTERS,
        leaky_slope: 0.01,
    }
}

fn interpolation(
    section: &Section<'_>,
    word: &str,
    planar: bool,
) -> Result<Interpolation, ConfigError> {
    match (word, planar) {
        ("default" | "nearest", _) => Ok(Interpolation::Nearest),
        ("area", _) => Ok(Interpolation::Area),
        ("trilinear", false) | ("bilinear", true) => Ok(Interpolation::Trilinear),
        _ => Err(section.error(
            "upsample",
            format!(
                "`{word}` is not for {} networks; use `{}`",
                if planar { "2D" } else { "3D" },
                if planar { "bilinear" } else { "trilinear" }
            ),
        )),
    }
}

/// The probabilities of the two units of a double convolution.
fn dropout(section: &Section<'_>) -> Result<[f64; 2], ConfigError> {
    let wrong = "a probability from 0 to 1 is wanted, or two of them";
    let Some(node) = section.child("dropout_prob") else { return Ok([0.1; 2]) };
    let one = |value: &YamlValue| {
        let number = match value {
            YamlValue::Number(x) => *x,
            YamlValue::Integer(i) => *i as f64,
            _ => return Err(node.error(wrong)),
        };
        if (0.0..=1.0).contains(&number) { Ok(number) } else { Err(node.error(wrong)) }
    };
    match &node.value {
        YamlValue::List(items) => match &items[..] {
            [first, second] => Ok([one(&first.value)?, one(&second.value)?]),
            _ => Err(node.error(wrong)),
        },
        value => Ok([one(value)?; 2]),
    }
}
