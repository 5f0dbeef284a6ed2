//! Predictors: how the patches of a volume are read, put together and written. One a
//! file.

mod embeddings;
mod lazy;
mod standard;
mod upstream;

use crate::config::{ConfigError, Dialects, Entry, Parameter, Registry, Section};
use crate::model::NetworkSpec;
use crate::stitch::Blending;
use crate::volume::Access;

use super::embeddings::RegionSpec;
use super::output::{
    COMPRESSION, COMPRESSION_LEVEL, ON_ERROR, OUTPUT_FORMAT, OutputSpec, ZARR_VERSION,
};
use super::performance::PerformanceSpec;

/// A predictor that `predictor.name` can choose.
pub struct Predictor {
    pub name: &'static str,
    pub meaning: &'static str,
    /// The keys that no other predictor has.
    pub parameters: &'static [Parameter],
    /// Where the volume is while it is predicted; `None`: where `loaders.dataset` has it.
    pub access: Option<Access>,
    /// Whether it predicts whole images, without patches.
    pub whole_images: bool,
    /// Reads what is done with the outputs of the network.
    pub read: fn(&Surroundings<'_>) -> Result<Manner, ConfigError>,
}

/// What a predictor may look at while its section is read.
pub struct Surroundings<'a> {
    /// The `predictor` section.
    pub section: Section<'a>,
    /// The top of the configuration.
    pub top: &'a Section<'a>,
    pub network: &'a NetworkSpec,
    /// Voxels that the slice builder adds on every side of a patch.
    pub halo: [usize; 3],
}

/// What is done with the outputs of the network.
pub struct Manner {
    /// Voxels (z, y, x) cut from each side of a patch's output.
    pub halo: [usize; 3],
    pub blending: Blending,
    /// Sets of axes of (N, C, D, H, W) to flip; the first one is empty.
    pub flips: Vec<Vec<i64>>,
    /// The only output channel to keep; `None` keeps all of them.
    pub channel: Option<usize>,
    pub output: OutputSpec,
    /// How the result is compared with a ground truth in the input file.
    pub performance: Option<PerformanceSpec>,
    /// How embeddings become the regions that are written in place of the outputs.
    pub regions: Option<RegionSpec>,
}

impl Entry for Predictor {
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

/// All predictors.
pub static PREDICTORS: Dialects<Registry<Predictor>> = Dialects {
    fork: Registry {
        kind: "predictor",
        name: NAME,
        entries: &[&standard::PREDICTOR, &lazy::PREDICTOR, &embeddings::PREDICTOR],
        shared: &[OUTPUT_FORMAT, ZARR_VERSION, COMPRESSION, COMPRESSION_LEVEL, ON_ERROR],
        refused: &[],
    },
    upstream: Registry {
        kind: "predictor",
        name: NAME,
        entries: &[&upstream::STANDARD, &upstream::LAZY, &upstream::IMAGES],
        shared: upstream::KEYS,
        refused: &[],
    },
};

const NAME: Parameter = Parameter::text("name", "StandardPredictor", "how volumes are read");

/// The output channel that a key names.
///
/// # Errors
/// A channel that the network does not have.
fn read_channel(
    section: &Section<'_>,
    key: &str,
    network: &NetworkSpec,
) -> Result<Option<usize>, ConfigError> {
    let channel = section.maybe_size(key);
    if let Some(channel) = channel.filter(|channel| *channel as i64 >= network.out_channels) {
        return Err(section.error(
            key,
            format!(
                "channel {channel} of a network with {} output channels, which are numbered from 0",
                network.out_channels
            ),
        ));
    }
    Ok(channel)
}

/// All combinations of the axes of `tta`, as sets of axes of (N, C, D, H, W).
fn read_flips(predictor: &Section<'_>) -> Result<Vec<Vec<i64>>, ConfigError> {
    let mut flips = vec![Vec::new()];
    let Some(node) = predictor.child("tta") else { return Ok(flips) };
    for item in node.items()? {
        let axis = match item.text()? {
            "z" => 2,
            "y" => 3,
            "x" => 4,
            other => return Err(item.error(format!("'{other}' is no axis; write z, y or x"))),
        };
        if flips.iter().any(|flip| flip.contains(&axis)) {
            return Err(item.error("the axis stands twice"));
        }
        let with: Vec<Vec<i64>> =
            flips.iter().map(|flip| flip.iter().copied().chain([axis]).collect()).collect();
        flips.extend(with);
    }
    Ok(flips)
}
