//! What there is to predict, and how: the configuration with types.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::augment::Recipe;
use crate::config::{ConfigError, Node, Parameter, Section};
use crate::model::NetworkSpec;
use crate::patch::{DatasetKind, Loaders, required};
use crate::stitch::{Blending, Plan, PlanError};
use crate::volume::Mirror;

/// The keys of the `predictor` section.
pub const PREDICTOR: &[Parameter] = &[
    Parameter::choice(
        "name",
        "StandardPredictor",
        &["StandardPredictor", "LazyPredictor"],
        "input in memory, or read piece by piece",
    ),
    Parameter::per_axis("patch_halo", &[4, 8, 8], "voxels cut from each side of a patch"),
    Parameter::choice(
        "blending",
        "average",
        &["average", "gaussian"],
        "how patches that overlap are weighted",
    ),
];

/// The keys of the slice builder that matter for prediction.
const GRID: &[Parameter] = &[
    Parameter::choice("name", "SliceBuilder", &["SliceBuilder"], "patches on a grid").required(),
    Parameter::integers("patch_shape", &[], "size of a patch (z, y, x)")
        .within(1.0, f64::MAX)
        .of_length(3)
        .required(),
    Parameter::integers("stride_shape", &[], "distance of patches (z, y, x)")
        .within(1.0, f64::MAX)
        .of_length(3)
        .required(),
    Parameter::flag("skip_shape_check", false, "allow patches below 16×64×64"),
];

/// A prediction run.
pub struct Job {
    pub inputs: Vec<PathBuf>,
    pub outputs: Vec<PathBuf>,
    /// Data set of the raw data within each file.
    pub raw: String,
    /// Read patches from the file instead of holding the volume.
    pub lazy: bool,
    pub mirror: Mirror,
    pub patch: [usize; 3],
    pub stride: [usize; 3],
    pub halo: [usize; 3],
    pub blending: Blending,
    pub batch_size: usize,
    pub recipe: Recipe,
    /// The only output channel to keep.
    pub channel: Option<usize>,
    pub network: NetworkSpec,
    /// Where errors about patches point to.
    grid: Node,
}

impl Job {
    /// Reads `loaders`, `predictor` and `prediction_channel`. `inputs` are the
    /// files that `loaders.test.file_paths` stands for.
    pub fn read(
        top: &Section<'_>,
        loaders: &Loaders<'_>,
        network: NetworkSpec,
        inputs: Vec<PathBuf>,
    ) -> Result<Self, ConfigError> {
        let empty;
        let predictor = match top.child("predictor") {
            Some(node) => node,
            None => {
                empty = crate::config::Tree::parse("{}", "no predictor section", &[])?.root;
                &empty
            }
        }
        .section(PREDICTOR)?;
        let phase = loaders.phase("test")?;
        let grid = required(&phase, "slice_builder")?.section(GRID)?;
        let three =
            |values: Vec<i64>| -> [usize; 3] { std::array::from_fn(|a| values[a] as usize) };
        let patch = three(grid.integers("patch_shape"));
        if !grid.flag("skip_shape_check") && (patch[0] < 16 || patch[1] < 64 || patch[2] < 64) {
            return Err(grid.error(
                "patch_shape",
                "a patch is at least 16×64×64; set `skip_shape_check: true` if a smaller one is meant",
            ));
        }
        network.check_patch(patch).map_err(|error| grid.error("patch_shape", error.to_string()))?;
        let channel = top.maybe_size("prediction_channel");
        if let Some(channel) = channel.filter(|c| *c as i64 >= network.out_channels) {
            return Err(top.error(
                "prediction_channel",
                format!(
                    "channel {channel} of a network with {} output channels, which are numbered from 0",
                    network.out_channels
                ),
            ));
        }
        let recipe = Recipe::read_raw(required(&phase, "transformer")?)?;
        let outputs =
            inputs.iter().map(|path| output_path(path, loaders.output_dir.as_deref())).collect();
        let job = Job {
            inputs,
            outputs,
            raw: loaders.raw.to_string(),
            lazy: loaders.dataset == DatasetKind::Lazy || predictor.text("name") == "LazyPredictor",
            mirror: Mirror { pad: loaders.mirror_padding },
            patch,
            stride: three(grid.integers("stride_shape")),
            halo: predictor.per_axis("patch_halo").map(|voxels| voxels as usize),
            blending: match predictor.text("blending") {
                "gaussian" => Blending::Gaussian,
                _ => Blending::Average,
            },
            batch_size: loaders.batch_size,
            recipe,
            channel,
            network,
            grid: grid.node.clone(),
        };
        job.check_outputs()?;
        Ok(job)
    }

    /// Two inputs with one output would overwrite each other.
    fn check_outputs(&self) -> Result<(), ConfigError> {
        let mut seen: HashMap<&Path, &Path> = HashMap::new();
        for (input, output) in self.inputs.iter().zip(&self.outputs) {
            if let Some(other) = seen.insert(output, input) {
                return Err(self.grid.error(format!(
                    "{} and {} would both be written to {}; rename one, or leave out `loaders.output_dir`",
                    other.display(),
                    input.display(),
                    output.display()
                )));
            }
        }
        Ok(())
    }

    /// How a volume of this size (z, y, x) is cut and put together.
    pub fn plan(&self, size: [usize; 3]) -> Result<Plan, PlanError> {
        let padded = self.mirror.padded(size);
        Plan::new(padded, self.patch, self.stride, self.halo, self.mirror.pad, self.blending)
    }

    /// Channels of the result.
    pub fn out_channels(&self) -> usize {
        match self.channel {
            Some(_) => 1,
            None => self.network.out_channels as usize,
        }
    }

    /// An error about the patches of the configuration.
    pub fn grid_error(&self, message: impl Into<String>) -> ConfigError {
        self.grid.error(message)
    }
}

/// `<stem>_predictions.h5`, beside the input or in `directory`.
fn output_path(input: &Path, directory: Option<&Path>) -> PathBuf {
    let stem = input.file_stem().unwrap_or_default().to_string_lossy();
    let name = format!("{stem}_predictions.h5");
    match directory {
        Some(directory) => directory.join(name),
        None => input.with_file_name(name),
    }
}
