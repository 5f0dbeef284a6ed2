//! What is written for a volume: probabilities, segmentation, preview, and the
//! attributes that tell how it was made.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ndarray::ArrayView4;
use tch::{Kind, Tensor};

use crate::config::{ConfigError, Parameter, Section};
use crate::ffi::tensor::as_slice;
use crate::files::FileState;
use crate::format;
use crate::stitch::FinishedBlock;
use crate::volume::{
    Compression, Edition, Encoding, NewVolume, StoredType, VolumeId, VolumeWriter,
};

use super::existing::{INPUT, check_replaceable, warn_of_other_input};
use super::files::{OutputFormat, beside, segmentation_path};
use super::performance::Performance;
use super::preview::check_preview;
use super::reader::InputSummary;
use super::run::PredictionRun;

pub const COMPRESSION: Parameter =
    Parameter::choice("compression", "gzip", &["gzip", "none"], "of the written volumes");
pub const COMPRESSION_LEVEL: Parameter =
    Parameter::integer("compression_level", 4, "1 is fast, 9 is small").within(1.0, 9.0);
pub const OUTPUT_FORMAT: Parameter = Parameter::choice(
    "output_format",
    "input",
    &["input", "hdf5", "zarr", "tiff", "nrrd", "nifti", "metaimage"],
    "of the written volumes; `input`: that of each input file",
);
pub const ZARR_VERSION: Parameter = Parameter::number(
    "zarr_version",
    0.5,
    "of OME-Zarr where that is written: 0.5 (Zarr 3, with shards) or 0.4 (Zarr 2)",
)
.within(0.4, 0.5);
pub const BLOCK_MEMORY: Parameter = Parameter::integer(
    "block_memory",
    128,
    "MiB of a block of a result in Zarr, which is made block by block; larger blocks share fewer \
     patches",
)
.within(1.0, 1e6);
pub const OUTPUT_DTYPE: Parameter = Parameter::choice(
    "output_dtype",
    "float32",
    &["float32", "float16", "uint8"],
    "of `predictions`; uint8 holds 255 times the probability",
);
pub const SAVE_PROBABILITIES: Parameter =
    Parameter::flag("save_probabilities", true, "write `predictions`");
pub const SAVE_SEGMENTATION: Parameter = Parameter::flag(
    "save_segmentation",
    false,
    "write `segmentation` (uint16): the likeliest class, or probability > 0.5 of one channel",
);
pub const ON_ERROR: Parameter = Parameter::choice(
    "on_error",
    "fail",
    &["fail", "continue"],
    "exit code when files could not be predicted: 1, or 0 with a warning",
);
pub const PREVIEW: Parameter =
    Parameter::flag("preview", false, "write `<stem>_predictions.png`, maximum projections");

/// The choice of [`COMPRESSION`] and [`COMPRESSION_LEVEL`].
pub fn compression(predictor: &Section<'_>) -> Compression {
    match predictor.text("compression") {
        "none" => Compression::None,
        _ => Compression::Gzip { level: predictor.size("compression_level") as u8 },
    }
}

/// The choice of [`ZARR_VERSION`].
///
/// # Errors
/// A number that is no version.
pub fn edition(predictor: &Section<'_>) -> Result<Edition, ConfigError> {
    match predictor.number("zarr_version") {
        0.5 => Ok(Edition::Newest),
        0.4 => Ok(Edition::Previous),
        version => Err(predictor.error(
            "zarr_version",
            format!("version {version} of OME-Zarr is not written; write 0.4 or 0.5"),
        )),
    }
}

/// The choice of [`OUTPUT_DTYPE`].
pub fn encoding(predictor: &Section<'_>) -> Encoding {
    match predictor.text("output_dtype") {
        "float16" => Encoding::Number(StoredType::F16),
        "uint8" => Encoding::ScaledUint8,
        _ => Encoding::Number(StoredType::F32),
    }
}

/// The choice of [`OUTPUT_FORMAT`], `None` for that of the input.
///
/// # Errors
/// A format that has no numbers of the type of the output.
pub fn output_format(
    predictor: &Section<'_>,
    encoding: Encoding,
) -> Result<Option<OutputFormat>, ConfigError> {
    let format = OutputFormat::named(predictor.text("output_format"));
    if let Some(format) = format.filter(|format| !format.holds(encoding)) {
        let (dtype, name) = (encoding.stored().name(), format.name());
        return Err(predictor.error(
            "output_dtype",
            format!("{name} has no numbers of type {dtype}: write `output_dtype: float32`"),
        ));
    }
    Ok(format)
}

/// What is written for each volume, and how it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputSpec {
    /// `None`: the format of the input.
    pub format: Option<OutputFormat>,
    /// MiB of a block of results that are made block by block.
    pub block_memory: usize,
    pub compression: Compression,
    pub edition: Edition,
    pub encoding: Encoding,
    /// Name of the volume of probabilities; `None`: it is not written.
    pub probabilities: Option<String>,
    /// Name of the volume of the likeliest classes; `None`: it is not written.
    pub segmentation: Option<String>,
    /// Name of the volume of regions; `None`: the results are none.
    pub regions: Option<String>,
    pub preview: bool,
}

impl OutputSpec {
    /// Whether the segmentation is a file of its own beside the probabilities at `path`.
    pub fn has_segmentation_apart(&self, path: &Path) -> bool {
        self.probabilities.is_some()
            && self.segmentation.is_some()
            && format::named(path).is_some_and(|format| format.most_volumes == 1)
    }

    /// The volumes of a result of size (z, y, x): probabilities of so many classes, likeliest
    /// classes and regions, those that are written.
    pub fn volumes(&self, channels: usize, [d, h, w]: [usize; 3]) -> [Option<NewVolume<'_>>; 3] {
        let (compression, edition) = (self.compression, self.edition);
        let labels = |stored| {
            move |name| NewVolume {
                name,
                shape: [1, d, h, w],
                has_channels: false,
                encoding: Encoding::Number(stored),
                compression,
                edition,
                labels: true,
            }
        };
        let probabilities = |name| NewVolume {
            name,
            shape: [channels, d, h, w],
            has_channels: true,
            encoding: self.encoding,
            compression,
            edition,
            labels: false,
        };
        [
            self.probabilities.as_deref().map(probabilities),
            self.segmentation.as_deref().map(labels(StoredType::U16)),
            self.regions.as_deref().map(labels(StoredType::I32)),
        ]
    }

    /// Reads the keys of the `predictor` section that are about the output.
    pub fn read(predictor: &Section<'_>) -> Result<Self, ConfigError> {
        let spec = OutputSpec {
            format: output_format(predictor, encoding(predictor))?,
            block_memory: predictor.size("block_memory"),
            compression: compression(predictor),
            edition: edition(predictor)?,
            encoding: encoding(predictor),
            probabilities: predictor.flag("save_probabilities").then(|| "predictions".to_string()),
            segmentation: predictor.flag("save_segmentation").then(|| "segmentation".to_string()),
            regions: None,
            preview: predictor.flag("preview"),
        };
        if spec.probabilities.is_none() && spec.segmentation.is_none() {
            return Err(predictor.error(
                "save_probabilities",
                "nothing would be written; set `save_segmentation: true` as well, or leave this out",
            ));
        }
        Ok(spec)
    }
}

/// Names and texts of the attributes of an output file: version, configuration,
/// checkpoint.
pub type Attributes = Vec<(&'static str, String)>;

/// A result that is being written.
pub struct Output {
    file: ResultFile,
    /// The file of the segmentation, where it is one of its own.
    apart: Option<ResultFile>,
    probabilities: Option<VolumeId>,
    segmentation: Option<VolumeId>,
    regions: Option<VolumeId>,
    performance: Option<Performance>,
    spec: OutputSpec,
}

/// A file that is being written.
struct ResultFile {
    writer: Box<dyn VolumeWriter>,
    /// What stood under the name when the file was begun.
    seen: Option<FileState>,
}

impl ResultFile {
    /// # Errors
    /// Files under the name that prediction did not write, and what fails on the disk.
    fn create(run: &PredictionRun, path: &Path, record: &str) -> Result<ResultFile> {
        check_replaceable(path, &run.plan.output)?;
        let seen = FileState::of(path).ok();
        let mut writer = format::create(path, run.compressors)?;
        for (name, text) in &run.attributes {
            writer.attribute(name, text)?;
        }
        writer.attribute(INPUT, record)?;
        Ok(ResultFile { writer, seen })
    }

    /// # Errors
    /// Also if a file that may not be replaced has got the name since it was begun.
    fn finish(self, spec: &OutputSpec) -> Result<()> {
        let ResultFile { writer, seen } = self;
        writer.finish_if(&|path| match FileState::of(path).ok() {
            now if now.is_some() && now == seen => Ok(()),
            _ => check_replaceable(path, spec),
        })
    }
}

impl Output {
    /// Begins the result of file `index`, of size (z, y, x). `input` tells of the files
    /// that it is made from.
    ///
    /// # Errors
    /// Files under its name that prediction did not write, and what fails on the disk.
    pub fn create(
        run: &PredictionRun,
        index: usize,
        size: [usize; 3],
        summary: &InputSummary,
    ) -> Result<Self> {
        let (spec, channels) = (&run.plan.output, run.plan.out_channels());
        let path = &run.files[index].output;
        check_replaceable(path, spec)?;
        warn_of_other_input(path, &run.files[index].input);
        if spec.preview {
            check_preview(&beside(path, "png"))?;
        }
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(directory)
                .with_context(|| format!("{}: cannot be made", directory.display()))?;
        }
        let format = format::named(path);
        ensure!(
            format.is_none_or(|format| (format.holds)(spec.encoding.stored())),
            "{}: the format has no numbers of type {}: write `predictor.output_dtype: float32`",
            path.display(),
            spec.encoding.stored().name()
        );
        let mut file = ResultFile::create(run, path, &summary.record)?;
        let apart = spec.has_segmentation_apart(path).then(|| segmentation_path(path));
        let mut apart =
            apart.map(|path| ResultFile::create(run, &path, &summary.record)).transpose()?;
        let plan = &run.plan;
        let begin = |file: &mut ResultFile, volume: NewVolume<'_>| -> Result<VolumeId> {
            let id = file.writer.begin(&volume)?;
            let channels = if volume.has_channels { channels } else { 0 };
            let calibration = plan.result_calibration(&summary.calibration, channels);
            file.writer.calibrate(id, &calibration)?;
            Ok(id)
        };
        let [probabilities, segmentation, regions] = spec.volumes(channels, size);
        let probabilities = probabilities.map(|volume| begin(&mut file, volume)).transpose()?;
        let segmented = apart.as_mut().unwrap_or(&mut file);
        let segmentation = segmentation.map(|volume| begin(segmented, volume)).transpose()?;
        let regions = regions.map(|volume| begin(&mut file, volume)).transpose()?;
        let performance = run.plan.performance(&run.files[index], size)?;
        let spec = spec.clone();
        Ok(Output { file, apart, probabilities, segmentation, regions, performance, spec })
    }

    /// Writes a box of the result.
    pub fn write(&mut self, block: &FinishedBlock) -> Result<()> {
        let FinishedBlock { z, y, values } = block;
        if let Some(id) = self.segmentation {
            let labels = likeliest(values)?;
            let file = self.apart.as_mut().unwrap_or(&mut self.file);
            file.writer.write(id, [0, *z, *y], view(&labels)?)?;
            if let Some(performance) = &mut self.performance {
                performance.add([0, *z, *y], view(&labels)?)?;
            }
        }
        if let Some(id) = self.regions {
            self.file.writer.write(id, [0, *z, *y], view(&values.f_contiguous()?)?)?;
        }
        if let Some(id) = self.probabilities {
            // One channel lies in one piece where all of them may not.
            for channel in 0..values.size()[0] {
                let values = values.f_narrow(0, channel, 1)?.f_contiguous()?;
                self.file.writer.write(id, [channel as usize, *z, *y], view(&values)?)?;
                if let (Some(performance), None) = (&mut self.performance, self.segmentation) {
                    performance.add([channel as usize, *z, *y], view(&values)?)?;
                }
            }
        }
        Ok(())
    }

    /// Completes the file and gives it its name. Gives back how the result agrees with
    /// the ground truth, class by class, if that was asked for; the file has it as
    /// attributes.
    ///
    /// # Errors
    /// Also if a file that may not be replaced has got its name since it was begun.
    pub fn finish(self) -> Result<Option<Vec<f64>>> {
        let Output { mut file, apart, performance, spec, .. } = self;
        let agreement = performance.map(|performance| performance.finish());
        if let Some(values) = &agreement {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            file.writer.numbers("per_class_metric", values)?;
            file.writer.numbers("average_metric", &[mean])?;
        }
        // The file that stands for the result comes last.
        if let Some(apart) = apart {
            apart.finish(&spec)?;
        }
        file.finish(&spec)?;
        Ok(agreement)
    }
}

/// The likeliest class of each voxel (1, D, H, W) of probabilities (C, D, H, W), as float32;
/// of one channel whether it is above 0.5.
pub fn likeliest(probabilities: &Tensor) -> Result<Tensor> {
    let labels = if probabilities.size()[0] == 1 {
        probabilities.f_gt(0.5)?
    } else {
        probabilities.f_argmax(0, false)?.f_unsqueeze(0)?
    };
    Ok(labels.f_to_kind(Kind::Float)?.f_contiguous()?)
}

/// A contiguous CPU tensor (C, D, H, W) of float32 as an array.
pub fn view(tensor: &Tensor) -> Result<ArrayView4<'_, f32>> {
    let size: Vec<usize> = tensor.size().iter().map(|n| *n as usize).collect();
    let shape: [usize; 4] =
        size.try_into().map_err(|_| anyhow::anyhow!("a tensor (C, D, H, W) is wanted"))?;
    Ok(ArrayView4::from_shape(shape, as_slice::<f32>(tensor)?)?)
}
