//! `EmbeddingsPredictor`: a network's embeddings become regions.

use super::{Manner, Predictor, Surroundings};
use crate::config::{ConfigError, Parameter, Section};
use crate::predict::embeddings::{Clustering, RegionSpec};
use crate::predict::output::{OutputSpec, compression, edition, output_format};
use crate::stitch::Blending;
use crate::volume::{Encoding, StoredType};

pub(super) static PREDICTOR: Predictor = Predictor {
    name: "EmbeddingsPredictor",
    meaning: "clusters the embeddings of each patch, brings the regions of patches that overlap \
              together and writes them as `segmentation/<clustering>` (int32)",
    parameters: &[
        Parameter::choice("clustering", "meanshift", &["meanshift", "hdbscan"], "how").required(),
        Parameter::number(
            "iou_threshold",
            0.7,
            "regions of two patches are one from this intersection over union on",
        )
        .within(0.0, 1.0),
        Parameter::integer("noise_label", -1, "label of voxels that belong to no region"),
        Parameter::number("bandwidth", 1.0, "meanshift: radius of a neighbourhood")
            .at_least(1e-6)
            .optional(),
        Parameter::integer("min_cluster_size", 50, "hdbscan: voxels of the smallest region")
            .at_least(2.0),
        Parameter::integer(
            "min_samples",
            50,
            "hdbscan: neighbours by which density is told (default: `min_cluster_size`)",
        )
        .at_least(1.0)
        .optional(),
        Parameter::choice("metric", "euclidean", &["euclidean"], "hdbscan: the distance"),
        Parameter::choice(
            "cluster_selection_method",
            "eom",
            &["eom"],
            "hdbscan: how clusters are chosen from the hierarchy",
        ),
    ],
    whole_images: false,
    access: None,
    read,
};

fn read(around: &Surroundings<'_>) -> Result<Manner, ConfigError> {
    let Surroundings { section, .. } = around;
    let clustering = match section.text("clustering") {
        "hdbscan" => {
            let min_cluster_size = section.size("min_cluster_size");
            let min_samples = section.maybe_size("min_samples").unwrap_or(min_cluster_size);
            Clustering::Hdbscan { min_cluster_size, min_samples }
        }
        _ => Clustering::MeanShift { bandwidth: bandwidth(section)? },
    };
    Ok(Manner {
        halo: [0; 3],
        blending: Blending::Latest,
        flips: vec![Vec::new()],
        channel: None,
        output: OutputSpec {
            format: output_format(section, Encoding::Number(StoredType::I32))?,
            block_memory: 0,
            compression: compression(section),
            edition: edition(section)?,
            encoding: Encoding::Number(StoredType::F32),
            probabilities: None,
            segmentation: None,
            regions: Some(format!("segmentation/{}", clustering.word())),
            preview: false,
        },
        performance: None,
        regions: Some(RegionSpec {
            clustering,
            iou_threshold: section.number("iou_threshold"),
            noise_label: section.integer("noise_label") as i32,
        }),
    })
}

fn bandwidth(section: &Section<'_>) -> Result<f32, ConfigError> {
    match section.maybe_number("bandwidth") {
        Some(bandwidth) => Ok(bandwidth as f32),
        None => Err(section.error(
            "bandwidth",
            "`clustering: meanshift` needs the radius of a neighbourhood, as a number; the \
             `delta_var` of the ContrastiveLoss that the network was trained with is one to begin \
             with",
        )),
    }
}
