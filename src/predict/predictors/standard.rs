//! `StandardPredictor`: the volume is held as the data set class holds it.

use super::{Manner, Predictor, Surroundings, read_channel, read_flips};
use crate::config::{ConfigError, Kind, Parameter};
use crate::predict::output::{
    BLOCK_MEMORY, OUTPUT_DTYPE, OutputSpec, PREVIEW, SAVE_PROBABILITIES, SAVE_SEGMENTATION,
};
use crate::stitch::Blending;
use crate::volume::Encoding;

pub(super) static PREDICTOR: Predictor = Predictor {
    name: "StandardPredictor",
    meaning: "reads each volume into memory, unless `loaders.dataset` reads on demand",
    parameters: KEYS,
    whole_images: false,
    access: None,
    read,
};

/// The keys of predictors that write what the network gives.
pub(super) const KEYS: &[Parameter] = &[
    Parameter::per_axis("patch_halo", &[4, 8, 8], "voxels cut from each side of a patch"),
    Parameter::choice(
        "blending",
        "average",
        &["average", "gaussian"],
        "how patches that overlap are weighted",
    ),
    TTA,
    BLOCK_MEMORY,
    OUTPUT_DTYPE,
    SAVE_PROBABILITIES,
    SAVE_SEGMENTATION,
    PREVIEW,
];

pub(super) const TTA: Parameter = Parameter::custom(
    "tta",
    &[Kind::Words(&["z", "y", "x"])],
    "average over flips along these axes, as in [y, x]",
);

pub(super) fn read(around: &Surroundings<'_>) -> Result<Manner, ConfigError> {
    let Surroundings { section, top, network, .. } = around;
    let output = OutputSpec::read(section)?;
    if output.encoding == Encoding::ScaledUint8 && !network.is_segmentation {
        return Err(section.error(
            "output_dtype",
            "uint8 holds probabilities from 0 to 1, which a regression network does not give; use \
             float32 or float16",
        ));
    }
    if output.segmentation.is_some() && !network.is_segmentation {
        return Err(section.error(
            "save_segmentation",
            "a regression network (`model.is_segmentation: false`) has no classes to choose from",
        ));
    }
    Ok(Manner {
        halo: section.per_axis("patch_halo").map(|voxels| voxels as usize),
        blending: match section.text("blending") {
            "gaussian" => Blending::Gaussian,
            _ => Blending::Average,
        },
        flips: read_flips(section)?,
        channel: read_channel(top, "prediction_channel", network)?,
        output,
        performance: None,
        regions: None,
    })
}
