//! What there is to predict, and how: the configuration with types.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, ensure};

use crate::augment::{SampleShape, Transformer};
use crate::config::{self, ConfigError, Node, Parameter, Section};
use crate::files::identity;
use crate::model::NetworkSpec;
use crate::samples::slices::{self, Grid};
use crate::samples::{Loaders, required};
use crate::stitch::{Blending, Plan, PlanError};
use crate::volume::{Access, Encoding, Mirror, VolumeReader, VolumeShape};

use super::output::{Attributes, OUTPUT, OutputSpec};

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
    Parameter::custom(
        "tta",
        &[config::Kind::Words(&["z", "y", "x"])],
        "average over flips along these axes, as in [y, x]",
    ),
    OUTPUT[0],
    OUTPUT[1],
    OUTPUT[2],
    OUTPUT[3],
    OUTPUT[4],
    OUTPUT[5],
];

/// A prediction run.
pub struct Job {
    pub inputs: Vec<PathBuf>,
    pub outputs: Vec<PathBuf>,
    /// Data set of the raw data within each file.
    pub raw: String,
    /// Where the volume is while it is predicted.
    pub access: Access,
    pub mirror: Mirror,
    pub grid: Grid,
    pub halo: [usize; 3],
    pub blending: Blending,
    pub batch_size: usize,
    pub recipe: Transformer,
    /// The only output channel to keep.
    pub channel: Option<usize>,
    pub network: NetworkSpec,
    pub output: OutputSpec,
    /// What outputs say of their making.
    pub attributes: Attributes,
    /// Sets of axes of (N, C, D, H, W) to flip; predictions are averaged over
    /// them. The first is empty: the patch as it is.
    pub flips: Vec<Vec<i64>>,
    /// Threads that compress, for each device.
    pub compressors: usize,
    /// Becomes true when the run shall end: the file under way is dropped.
    pub stop: Arc<AtomicBool>,
    /// Where errors about the files point to.
    file_paths: Node,
    /// Where errors about what the transforms make point to.
    transformer: Node,
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
        let slice_builder = required(&phase, "slice_builder")?;
        let grid = slices::read(slice_builder)?.grid().ok_or_else(|| {
            slice_builder.error("prediction needs patches on a grid: use `name: SliceBuilder`")
        })?;
        network
            .check_patch(grid.patch)
            .map_err(|error| slice_builder.error(format!("`patch_shape`: {error}")))?;
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
        let recipe = Transformer::read_raw(required(&phase, "transformer")?)?;
        let output = OutputSpec::read(&predictor)?;
        if output.encoding == Encoding::ScaledUint8 && !network.is_segmentation {
            return Err(predictor.error(
                "output_dtype",
                "uint8 holds probabilities from 0 to 1, which a regression network does not give; \
                 use float32 or float16",
            ));
        }
        if output.segmentation && !network.is_segmentation {
            return Err(predictor.error(
                "save_segmentation",
                "a regression network (`model.is_segmentation: false`) has no classes to choose from",
            ));
        }
        let outputs =
            inputs.iter().map(|path| output_path(path, loaders.output_dir.as_deref())).collect();
        let job = Job {
            inputs,
            outputs,
            raw: loaders.raw.to_string(),
            access: match predictor.text("name") {
                "LazyPredictor" => Access::File,
                _ => loaders.dataset.access,
            },
            mirror: Mirror { pad: loaders.mirror_padding },
            grid,
            halo: predictor.per_axis("patch_halo").map(|voxels| voxels as usize),
            blending: match predictor.text("blending") {
                "gaussian" => Blending::Gaussian,
                _ => Blending::Average,
            },
            batch_size: loaders.batch_size,
            recipe,
            channel,
            output,
            attributes: vec![
                ("unet3d_version", env!("CARGO_PKG_VERSION").to_string()),
                ("settings", settings_of(top, loaders, &predictor)),
                ("configuration", top.node.to_json()),
            ],
            flips: read_flips(&predictor)?,
            compressors: std::thread::available_parallelism().map_or(1, |n| n.get()),
            stop: Arc::default(),
            network,
            file_paths: required(&phase, "file_paths")?.clone(),
            transformer: required(&phase, "transformer")?.clone(),
        };
        job.check_outputs()?;
        Ok(job)
    }

    /// Two inputs with one output would overwrite each other, and an output that
    /// is an input would overwrite that.
    fn check_outputs(&self) -> Result<(), ConfigError> {
        let inputs: HashSet<_> = self.inputs.iter().filter_map(|path| identity(path)).collect();
        for (input, output) in self.inputs.iter().zip(&self.outputs) {
            if identity(output).is_some_and(|identity| inputs.contains(&identity)) {
                return Err(self.file_paths.error(format!(
                    "{} is an input, and the result of {} would replace it; set another \
                     `loaders.output_dir`",
                    output.display(),
                    input.display()
                )));
            }
        }
        let mut seen: HashMap<&Path, &Path> = HashMap::new();
        for (input, output) in self.inputs.iter().zip(&self.outputs) {
            if let Some(other) = seen.insert(output, input) {
                return Err(self.file_paths.error(format!(
                    "{} and {} would both be written to {}; rename one, or leave out `loaders.output_dir`",
                    other.display(),
                    input.display(),
                    output.display()
                )));
            }
        }
        Ok(())
    }

    /// Keeps the files (number, (input, output)) that `keep` says.
    pub fn retain(&mut self, keep: impl Fn(usize, (&Path, &Path)) -> bool) {
        let files = std::mem::take(&mut self.inputs).into_iter();
        let files: Vec<_> = files.zip(std::mem::take(&mut self.outputs)).collect();
        for (index, (input, output)) in files.into_iter().enumerate() {
            if keep(index, (&input, &output)) {
                self.inputs.push(input);
                self.outputs.push(output);
            }
        }
    }

    /// How a volume of this size (z, y, x) is cut and put together.
    pub fn plan(&self, size: [usize; 3]) -> Result<Plan, PlanError> {
        let padded = self.mirror.padded(size);
        let starts = [0, 1, 2].map(|axis| self.grid.starts(axis, padded[axis]));
        Plan::new(padded, self.grid.patch, starts, self.halo, self.mirror.pad, self.blending)
    }

    /// Checks that a volume fits the transforms, the network and the patches, and
    /// plans its patches.
    ///
    /// # Errors
    /// A [`ConfigError`] if the transforms make nothing of it that the network can
    /// take, a [`PlanError`] if its patches do not cover it.
    pub fn plan_for(&self, dataset: &dyn VolumeReader) -> Result<Plan> {
        let (channels, wanted) = (dataset.channels(), self.network.in_channels as usize);
        ensure!(
            channels == wanted,
            "`{}` has {channels} channel(s) (shape {:?}), the network takes {wanted}: set \
             `model.in_channels` to the number it was trained with, or choose another \
             `raw_internal_path`",
            self.raw,
            dataset.shape()
        );
        let input = VolumeShape {
            channels: dataset.has_channels().then_some(channels),
            element: dataset.element(),
            sizes: vec![self.grid.patch],
        };
        let output =
            self.recipe.output_shape(SampleShape { raw: input, label: None, weight: None })?.raw;
        let made = output.network_channels().map_err(|error| self.transformer.error(error))?;
        let refuse = |message: String| Err(self.transformer.error(message).into());
        if made != wanted {
            return refuse(format!(
                "the `raw` list turns {wanted} channel(s) into {made}, and the network takes {wanted}"
            ));
        }
        if output.sizes.iter().any(|size| *size != self.grid.patch) {
            return refuse(format!(
                "the `raw` list turns patches {:?} into {:?}; prediction needs transforms that keep \
                 their shape",
                self.grid.patch, output.sizes
            ));
        }
        self.plan(dataset.size()).with_context(|| format!("(volume {:?})", dataset.size()))
    }

    /// Channels of the result.
    pub fn out_channels(&self) -> usize {
        match self.channel {
            Some(_) => 1,
            None => self.network.out_channels as usize,
        }
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

/// The settings that decide what the result is, as text: an output made with
/// others is out of date.
fn settings_of(top: &Section<'_>, loaders: &Loaders<'_>, predictor: &Section<'_>) -> String {
    let json = |node: Option<&Node>| node.map_or("null".into(), Node::to_json);
    let test = top.node.at("loaders.test");
    [
        ("model", json(top.child("model"))),
        ("predictor", predictor.node.to_json()),
        ("prediction_channel", json(top.child("prediction_channel"))),
        ("precision", json(top.child("precision"))),
        ("raw_internal_path", loaders.raw.to_string()),
        ("mirror_padding", format!("{:?}", loaders.mirror_padding)),
        ("slice_builder", json(test.and_then(|test| test.get("slice_builder")))),
        ("transformer", json(test.and_then(|test| test.get("transformer")))),
    ]
    .map(|(name, text)| format!("{name}: {text}"))
    .join("\n")
}

/// All combinations of the axes of `tta`.
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
