//! What a configuration says about prediction, as types.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::augment::stream::SampleKey;
use crate::augment::{SampleShape, Transformer};
use crate::config::{ConfigError, Node, Section};
use crate::device::{MemoryFormat, Precision};
use crate::format;
use crate::model::NetworkSpec;
use crate::resample::grid::{self, Interpolation, grids_to, resampled};
use crate::samples::slices::{self, Grid};
use crate::samples::{FilePaths, Loaders};
use crate::stitch::{Blending, Tiling, TilingError};
use crate::volume::{
    Access, Calibration, Mirror, Sample, Statistics, Volume, VolumeReader, VolumeShape, Window,
};

use super::embeddings::RegionSpec;
use super::files::{FilePair, pair_files, segmentation_path};
use super::output::{ON_ERROR, OutputSpec};
use super::performance::{Performance, PerformanceSpec};
use super::predictors::{Manner, PREDICTORS, Surroundings};

/// Everything that a configuration says about prediction. It owns what it holds;
/// the configuration is not read again, only named in error messages.
pub struct PredictionPlan {
    pub network: NetworkSpec,
    pub precision: Precision,
    /// The order of feature maps in memory that is asked for.
    pub memory_format: Option<MemoryFormat>,
    /// Path of the data set with the raw data within each input file.
    pub raw: String,
    /// Whether volumes are held in memory or read piece by piece.
    pub access: Access,
    /// Size of a voxel along z, y, x in micrometres that the network gets.
    pub voxel_size: Option<[f64; 3]>,
    pub tiling: TilingSpec,
    pub batch_size: usize,
    /// The transforms that turn a patch of the file into the network's input.
    pub transformer: Transformer,
    /// Sets of axes of (N, C, D, H, W) to flip. Predictions are averaged over the
    /// sets; the first one is empty.
    pub flips: Vec<Vec<i64>>,
    /// Names of the output channels; empty if they have none.
    pub class_names: Vec<String>,
    /// The only output channel to keep; `None` keeps all of them.
    pub channel: Option<usize>,
    pub output: OutputSpec,
    /// How the result is compared with a ground truth in the input file.
    pub performance: Option<PerformanceSpec>,
    /// How embeddings become the regions that are written in place of the outputs.
    pub regions: Option<RegionSpec>,
    /// Whether files that cannot be predicted leave the exit code 0.
    pub tolerant: bool,
    /// The settings that decide the values of the result, as text: an output made
    /// with others is out of date.
    pub settings: String,
    /// The whole configuration as JSON.
    pub configuration: String,
    output_dir: Option<PathBuf>,
    model_path: PathBuf,
    places: Places,
}

/// Nodes of the configuration that error messages point to.
struct Places {
    file_paths: FilePaths,
    transformer: Node,
    model_path: Node,
}

/// The raw data of a file, as the network gets them.
pub struct RawInput {
    pub reader: Arc<dyn VolumeReader>,
    /// Size (z, y, x) that the file has, and its result.
    pub size: [usize; 3],
    /// What leads from the voxels of the file to those of the network, if they differ.
    pub grids: Option<[grid::Grid; 3]>,
    /// What the file tells of space.
    pub calibration: Calibration,
}

/// How volumes are cut into patches and how their outputs are combined.
#[derive(Clone, Debug)]
pub struct TilingSpec {
    /// Size of the patches and the distance between them.
    pub grid: Grid,
    /// Voxels (z, y, x) cut from each side of a patch's output.
    pub halo: [usize; 3],
    /// Mirror padding of the volume before it is cut.
    pub mirror: Mirror,
    pub blending: Blending,
}

impl TilingSpec {
    /// Tiles a volume of `size` (z, y, x), without padding.
    ///
    /// # Errors
    /// A volume smaller than a patch, or voxels that no patch covers.
    pub fn tile(&self, size: [usize; 3]) -> Result<Tiling, TilingError> {
        let padded = self.mirror.padded(size);
        let starts = [0, 1, 2].map(|axis| self.grid.starts(axis, padded[axis]));
        Tiling::new(padded, self.grid.patch, starts, self.halo, self.mirror.pad, self.blending)
    }
}

impl PredictionPlan {
    /// Reads `model`, `model_path`, `loaders`, `predictor` and `prediction_channel`
    /// from the top of a configuration.
    ///
    /// # Errors
    /// Missing keys, impossible values, and settings that contradict each other.
    pub fn read(top: &Section<'_>) -> Result<Self, ConfigError> {
        let network = NetworkSpec::read(top.required("model")?)?;
        let loaders = Loaders::read(top.required("loaders")?)?;
        if let Some(reason) = loaders.dataset.refuses_prediction {
            let message = format!("{} {reason}", loaders.dataset.name);
            return Err(loaders.error("dataset", message));
        }
        if !loaders.dataset.has_slice_builder {
            return Err(loaders.error(
                "dataset",
                "holds whole images, which `predictor.name: DSB2018Predictor` predicts",
            ));
        }
        let node = top.node.section_or_empty("predictor");
        let (predictor, section) = PREDICTORS.open(&node)?;
        let phase = loaders.phase("test")?;
        let (grid, halo) = read_grid(phase.required("slice_builder")?, &network)?;
        let tolerant = section.text(ON_ERROR.name) == "continue";
        let around = Surroundings { section, top, network: &network, halo };
        let Manner { halo: cut, blending, flips, channel, output, performance, regions } =
            (predictor.read)(&around)?;
        let pad = [0, 1, 2].map(|axis| loaders.mirror_padding[axis] + halo[axis]);
        let tiling = TilingSpec { grid, halo: cut, mirror: Mirror { pad }, blending };
        let transformer = phase.required("transformer")?;
        let (Some(model_path), Some(path)) =
            (top.child("model_path"), top.maybe_path("model_path"))
        else {
            let message = "the key is missing: which checkpoint to predict with?";
            return Err(top.error("model_path", message));
        };
        Ok(PredictionPlan {
            precision: Precision::read(top),
            memory_format: MemoryFormat::read(top),
            raw: loaders.raw.clone(),
            access: predictor.access.unwrap_or(loaders.dataset.access),
            voxel_size: loaders.voxel_size,
            tiling,
            batch_size: loaders.batch_size,
            transformer: Transformer::read_raw(transformer)?.with_statistics(loaders.statistics)?,
            flips,
            class_names: network.class_names(top)?,
            channel,
            output,
            performance,
            regions,
            tolerant,
            settings: decisive_settings(top, &loaders, &section),
            configuration: top.node.to_json(),
            output_dir: loaders.output_dir.clone(),
            model_path: path,
            places: Places {
                file_paths: FilePaths::read(&phase)?,
                transformer: transformer.clone(),
                model_path: model_path.clone(),
            },
            network,
        })
    }

    /// The input files that `loaders.test.file_paths` stands for, each with the file
    /// its result is written to.
    ///
    /// # Errors
    /// Files that do not exist; results that would replace an input or each other.
    pub fn files(&self) -> Result<Vec<FilePair>, ConfigError> {
        let inputs = self.places.file_paths.prediction_inputs(&self.raw)?;
        let OutputSpec { format, compression, .. } = self.output;
        let apart =
            |path: &Path| self.output.has_segmentation_apart(path).then(|| segmentation_path(path));
        pair_files(inputs, self.output_dir.as_deref(), format, compression, apart)
            .map_err(|message| self.places.file_paths.node.error(message))
    }

    /// The checkpoint to predict with.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn checkpoint(&self) -> Result<&Path, ConfigError> {
        let path = &self.model_path;
        if path.is_file() {
            return Ok(path);
        }
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        Err(self.places.model_path.error(format!("no such checkpoint: {}", absolute.display())))
    }

    /// Opens the raw data of a file, with voxels of the size that the network gets.
    ///
    /// # Errors
    /// A file that cannot be read, or does not tell the size of its voxels.
    pub fn open(&self, path: &Path) -> Result<RawInput> {
        let reader = format::open(path, &self.raw)?;
        let (size, calibration) = (reader.size(), reader.calibration());
        let Some(wanted) = self.voxel_size else {
            return Ok(RawInput { reader, size, grids: None, calibration });
        };
        let grids = grids_to(&*reader, wanted)?;
        let resampling = grids.iter().any(|grid| !grid.is_identity());
        let reader = resampled(reader, grids, Interpolation::Linear);
        Ok(RawInput { reader, size, grids: resampling.then_some(grids), calibration })
    }

    /// Checks that a volume fits the network, the transforms and the patches, and
    /// tiles it.
    ///
    /// # Errors
    /// A [`ConfigError`] if the transforms make something else of it than the
    /// network takes, a [`TilingError`] if the patches do not cover it.
    pub fn tile(&self, dataset: &dyn VolumeReader) -> Result<Tiling> {
        let (channels, wanted) = (dataset.channels(), self.network.in_channels as usize);
        ensure!(
            channels == wanted,
            "`{}` has {channels} channel(s) (shape {:?}), the network takes {wanted}: set \
             `model.in_channels` to the number it was trained with, or choose another \
             `raw_internal_path`",
            self.raw,
            dataset.shape()
        );
        self.check_transforms(dataset)?;
        let size = dataset.size();
        self.tiling.tile(size).with_context(|| format!("(volume {size:?})"))
    }

    /// Checks that the transforms make patches of a volume that the network takes.
    fn check_transforms(&self, dataset: &dyn VolumeReader) -> Result<(), ConfigError> {
        let (patch, wanted) = (self.tiling.grid.patch, self.network.in_channels as usize);
        let input = VolumeShape {
            channels: dataset.has_channels().then(|| dataset.channels()),
            element: dataset.element(),
            sizes: vec![patch],
        };
        let input = SampleShape { raw: input, label: None, weight: None };
        let output = self.transformer.output_shape(input)?.raw;
        let refuse = |message: String| Err(self.places.transformer.error(message));
        let made =
            output.network_channels().map_err(|error| self.places.transformer.error(error))?;
        if made != wanted {
            return refuse(format!(
                "the `raw` list turns {wanted} channel(s) into {made}, and the network takes {wanted}"
            ));
        }
        if output.sizes.iter().any(|size| *size != patch) {
            return refuse(format!(
                "the `raw` list turns patches {patch:?} into {:?}; prediction needs transforms that \
                 keep their shape",
                output.sizes
            ));
        }
        Ok(())
    }

    /// What the transforms make of a patch in the middle of a volume, of which `statistics`
    /// are told.
    ///
    /// # Errors
    /// A file that cannot be read, values that a transform cannot work on.
    pub fn try_transforms(
        &self,
        dataset: &dyn VolumeReader,
        statistics: &Statistics,
    ) -> Result<Volume> {
        let (size, patch) = (dataset.size(), self.tiling.grid.patch);
        let patch = [0, 1, 2].map(|axis| patch[axis].min(size[axis]));
        let origin = [0, 1, 2].map(|axis| (size[axis] - patch[axis]) / 2);
        let window = Window::new(origin, patch);
        let raw = dataset.read_part(0..dataset.channels(), &window, 1)?;
        let sample = Sample { raw, label: None, weight: None };
        let key = SampleKey { seed: 0, epoch: 0, sample: 0 };
        Ok(self.transformer.apply(sample, key, statistics)?.raw)
    }

    /// Opens the ground truth that the result of a file, of size (z, y, x), is compared
    /// with, if that is asked for.
    ///
    /// # Errors
    /// A ground truth that is missing or of another shape.
    pub fn performance(&self, file: &FilePair, size: [usize; 3]) -> Result<Option<Performance>> {
        let Some(spec) = &self.performance else { return Ok(None) };
        let [d, h, w] = size;
        let shape = match self.output.segmentation {
            Some(_) => vec![d, h, w],
            None => vec![self.out_channels(), d, h, w],
        };
        let truth = file.truth.as_ref().unwrap_or(&file.input);
        ensure!(
            truth != &file.input
                || spec.truth == self.raw
                || format::open_file(truth)?.names_volumes(),
            "{}: the file holds one volume, which is the raw data, and has no place for `{}`: name \
             the file of the ground truth, as in `file_paths: [{{raw: a.tif, label: b.tif}}]`",
            truth.display(),
            spec.truth
        );
        Performance::open(spec, truth, &shape).map(Some)
    }

    /// What a result of `channels` channels says of space: what the input does, and the
    /// names of the classes.
    pub fn result_calibration(&self, input: &Calibration, channels: usize) -> Calibration {
        let names = match self.channel {
            Some(channel) => self.class_names.get(channel..=channel).unwrap_or(&[]),
            None => &self.class_names,
        };
        let named = names.len() == channels && self.regions.is_none();
        let channels = if named { names.to_vec() } else { Vec::new() };
        Calibration { channels, ..input.clone() }
    }

    /// Number of channels of the result.
    pub fn out_channels(&self) -> usize {
        match (self.channel, &self.regions) {
            (Some(_), _) | (_, Some(_)) => 1,
            (None, None) => self.network.out_channels as usize,
        }
    }
}

/// The grid of patches of a slice builder, each with the halo that is read around it,
/// and that halo.
fn read_grid(
    slice_builder: &Node,
    network: &NetworkSpec,
) -> Result<(Grid, [usize; 3]), ConfigError> {
    let builder = slices::read(slice_builder)?;
    let grid = builder.grid().ok_or_else(|| {
        slice_builder.error("prediction needs patches on a grid: use `name: SliceBuilder`")
    })?;
    let halo = builder.halo();
    // On the volume with its halo, patches with theirs begin where those without begin on
    // the volume without.
    let patch = [0, 1, 2].map(|axis| grid.patch[axis] + 2 * halo[axis]);
    let grid = Grid { patch, ..grid };
    network
        .check_patch(grid.patch)
        .map_err(|error| slice_builder.error(format!("`patch_shape`: {error}")))?;
    Ok((grid, halo))
}

/// The settings that decide the values of the result, as text.
fn decisive_settings(top: &Section<'_>, loaders: &Loaders, predictor: &Section<'_>) -> String {
    let json = |node: Option<&Node>| node.map_or("null".into(), Node::to_json);
    let test = top.node.at("loaders.test");
    let voxels = loaders.voxel_size.map(|size| format!("\nvoxel_size: {size:?}"));
    let settings = [
        ("model", json(top.child("model"))),
        ("predictor", predictor.node.to_json()),
        ("prediction_channel", json(top.node.get("prediction_channel"))),
        ("precision", json(top.child("precision"))),
        ("raw_internal_path", loaders.raw.clone()),
        ("dialect", top.node.dialect().word().to_string()),
        ("statistics", format!("{:?}", loaders.statistics)),
        ("mirror_padding", format!("{:?}", loaders.mirror_padding)),
        ("slice_builder", json(test.and_then(|test| test.get("slice_builder")))),
        ("transformer", json(test.and_then(|test| test.get("transformer")))),
    ]
    .map(|(name, text)| format!("{name}: {text}"))
    .join("\n");
    settings + &voxels.unwrap_or_default()
}
