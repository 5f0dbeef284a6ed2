//! The predictors of `wolny/pytorch-3dunet`: patches have a halo, of those that overlap
//! the later one counts, and a segmentation takes the place of the probabilities.

use super::standard::TTA;
use super::{Manner, Predictor, Surroundings, read_channel, read_flips};
use crate::config::{ConfigError, Parameter};
use crate::predict::output::{
    BLOCK_MEMORY, COMPRESSION, COMPRESSION_LEVEL, ON_ERROR, OUTPUT_DTYPE, OUTPUT_FORMAT,
    OutputSpec, PREVIEW, ZARR_VERSION, compression, edition, encoding, output_format,
};
use crate::predict::performance::{Measure, PerformanceSpec};
use crate::stitch::Blending;
use crate::volume::Access;

pub(super) static STANDARD: Predictor = Predictor {
    name: "StandardPredictor",
    meaning: "reads each volume into memory, unless `loaders.dataset` reads on demand",
    parameters: &[],
    whole_images: false,
    access: None,
    read,
};

pub(super) static LAZY: Predictor = Predictor {
    name: "LazyPredictor",
    meaning: "reads volumes row of patches by row of patches, for those larger than memory",
    parameters: &[],
    whole_images: false,
    access: Some(Access::File),
    read,
};

pub(super) static IMAGES: Predictor = Predictor {
    name: "DSB2018Predictor",
    meaning: "predicts whole 2D images (PNG) and writes `predictions` (H, W) and `segmentation`, \
              the components above 0.5",
    parameters: &[],
    whole_images: true,
    access: None,
    read,
};

/// The keys that all predictors of upstream take, and those of this program that change
/// nothing about their numbers.
pub(super) const KEYS: &[Parameter] = &[
    Parameter::text("output_dataset", "predictions", "name of the volume that is written"),
    Parameter::flag(
        "save_segmentation",
        false,
        "write the likeliest class (uint16), or where one channel is above 0.5, in place of the \
         probabilities",
    ),
    Parameter::integer("prediction_channel", 0, "keep this output channel only")
        .at_least(0.0)
        .optional(),
    Parameter::choice(
        "performance_metric",
        "dice",
        &["dice", "mean_iou"],
        "compares what is written with `gt_internal_path`",
    )
    .optional(),
    Parameter::text("gt_internal_path", "", "volume of the input file with the ground truth")
        .optional(),
    TTA,
    OUTPUT_FORMAT,
    ZARR_VERSION,
    BLOCK_MEMORY,
    COMPRESSION,
    COMPRESSION_LEVEL,
    OUTPUT_DTYPE,
    PREVIEW,
    ON_ERROR,
];

fn read(around: &Surroundings<'_>) -> Result<Manner, ConfigError> {
    let Surroundings { section, network, halo, .. } = around;
    let name = section.text("output_dataset").to_string();
    if name.trim_matches('/').is_empty() {
        return Err(section.error("output_dataset", "the name of a volume is wanted"));
    }
    let segments = section.flag("save_segmentation");
    let channel = read_channel(section, "prediction_channel", network)?;
    let measure = match section.maybe_text("performance_metric") {
        Some("dice") => Some(Measure::Dice),
        Some(_) => Some(Measure::MeanIou { classes: network.out_channels as usize }),
        None => None,
    };
    let performance = match (measure, section.maybe_text("gt_internal_path")) {
        (Some(measure), Some(truth)) => Some(PerformanceSpec { measure, truth: truth.into() }),
        (Some(_), None) => {
            return Err(section.error(
                "gt_internal_path",
                "`performance_metric` needs the name of the volume with the ground truth",
            ));
        }
        (None, _) => None,
    };
    Ok(Manner {
        halo: *halo,
        blending: Blending::Latest,
        flips: read_flips(section)?,
        channel: if segments { None } else { channel },
        output: OutputSpec {
            format: output_format(section, encoding(section))?,
            block_memory: section.size("block_memory"),
            compression: compression(section),
            edition: edition(section)?,
            encoding: encoding(section),
            probabilities: (!segments).then(|| name.clone()),
            segmentation: segments.then_some(name),
            regions: None,
            preview: section.flag("preview"),
        },
        performance,
        regions: None,
    })
}
