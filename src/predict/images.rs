//! Prediction of whole 2D images, `DSB2018Predictor`: no patches, a file for each image.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow, ensure};
use log::{error, info};
use ndarray::{Array2, Array3};
use tch::{Device, Kind};

use super::files::{FilePair, pair_files};
use crate::augment::stream::SampleKey;
use crate::augment::{SampleShape, Transformer};
use crate::config::{ConfigError, Node, Section};
use crate::device::{MemoryFormat, Precision, stack};
use crate::ffi::tensor::as_slice;
use crate::files;
use crate::format::h5::{Plane, write_planes};
use crate::format::png;
use crate::model::{NetworkSpec, UNet};
use crate::regions::{Connectivity, components};
use crate::samples::{Loaders, SampleFiles, entries};
use crate::volume::{Compression, Statistics, Volume, VolumeShape};

/// Everything that a configuration says about the prediction of images.
pub struct ImagePlan {
    pub network: NetworkSpec,
    pub precision: Precision,
    /// The order of feature maps in memory that is asked for.
    pub memory_format: Option<MemoryFormat>,
    pub model_path: PathBuf,
    transformer: Transformer,
    output_dir: Option<PathBuf>,
    /// Whether images that cannot be predicted leave the exit code 0.
    pub tolerant: bool,
    /// Where errors about the images point to.
    file_paths: Node,
}

impl ImagePlan {
    /// Reads the plan of a configuration whose predictor works on whole images.
    ///
    /// # Errors
    /// Missing keys, impossible values, a data set class of volumes, a network with
    /// several output channels.
    pub fn read(top: &Section<'_>, tolerant: bool) -> Result<Self, ConfigError> {
        let network = NetworkSpec::read(top.required("model")?)?;
        let loaders = Loaders::read(top.required("loaders")?)?;
        if loaders.dataset.has_slice_builder {
            return Err(loaders.error(
                "dataset",
                "DSB2018Predictor predicts whole images: set `dataset: DSB2018Dataset`",
            ));
        }
        if network.out_channels != 1 {
            return Err(top.required("model")?.error_at(
                "out_channels",
                "DSB2018Predictor takes the one channel of a foreground: set `out_channels: 1`",
            ));
        }
        let phase = loaders.phase("test")?;
        let transformer = Transformer::read_raw(phase.required("transformer")?)?;
        let Some(model_path) = top.maybe_path("model_path") else {
            let message = "the key is missing: which checkpoint to predict with?";
            return Err(top.error("model_path", message));
        };
        Ok(ImagePlan {
            network,
            precision: Precision::read(top),
            memory_format: MemoryFormat::read(top),
            model_path,
            transformer: transformer.with_statistics(loaders.statistics)?,
            output_dir: loaders.output_dir.clone(),
            tolerant,
            file_paths: phase.required("file_paths")?.clone(),
        })
    }

    /// The images of the folders `images` below `file_paths`, or of those paths
    /// themselves, each with the file that its result is written to.
    ///
    /// # Errors
    /// Folders that cannot be read or hold no PNG file, results that would replace each
    /// other.
    pub fn files(&self) -> Result<Vec<FilePair>, ConfigError> {
        let mut images = Vec::new();
        for entry in entries(&self.file_paths)? {
            let path = entry.file_path()?;
            if path.is_file() {
                images.push(SampleFiles { raw: path, ..SampleFiles::default() });
                continue;
            }
            let inner = path.join("images");
            let folder = if inner.is_dir() { inner } else { path };
            let found = files::list(&folder, |extension| extension.eq_ignore_ascii_case("png"))
                .map_err(|error| {
                    entry.error(format!("{} cannot be read: {error}", folder.display()))
                })?;
            if found.is_empty() {
                return Err(entry.error(format!("{} holds no PNG file", folder.display())));
            }
            images
                .extend(found.into_iter().map(|raw| SampleFiles { raw, ..SampleFiles::default() }));
        }
        pair_files(images, self.output_dir.as_deref(), None, Compression::None, |_| None)
            .map_err(|message| self.file_paths.error(message))
    }

    /// The image after the transforms, (C, 1, H, W).
    fn prepare(&self, image: Volume, number: u64) -> Result<Volume> {
        let (patch, statistics) = (image.size(), Statistics::of(&image)?);
        let input = VolumeShape { channels: None, element: image.element(), sizes: vec![patch] };
        let made = self
            .transformer
            .output_shape(SampleShape { raw: input, label: None, weight: None })?
            .raw;
        let channels = made.network_channels().map_err(|message| anyhow!(message))?;
        ensure!(
            channels as i64 == self.network.in_channels,
            "the image has {channels} channel(s), the network takes {}",
            self.network.in_channels
        );
        for size in &made.sizes {
            self.network.check_patch(*size)?;
        }
        let key = SampleKey { seed: 0, epoch: 0, sample: number };
        self.transformer.apply_raw(image, key, &statistics)
    }
}

/// Predicts images one after the other on a device. Returns what went wrong with each of
/// those that failed.
///
/// # Errors
/// A checkpoint that does not fit the network.
pub fn predict_images(
    plan: &ImagePlan,
    images: &[FilePair],
    device: Device,
    stop: &Arc<AtomicBool>,
) -> Result<Vec<anyhow::Error>> {
    let net = UNet::uninitialized(&plan.network, plan.precision.prediction(), device)?;
    plan.memory_format.map_or(Ok(()), |format| net.set_memory_format(format))?;
    net.load_checkpoint(&plan.model_path)?;
    let mut failed = Vec::new();
    for (number, pair) in images.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let predicted = predict_image(plan, &net, pair, number as u64, device);
        match predicted.with_context(|| pair.input.display().to_string()) {
            Ok(()) => info!("{}/{} {}", number + 1, images.len(), pair.output.display()),
            Err(fault) => {
                error!("{fault:#}");
                failed.push(fault);
            }
        }
    }
    Ok(failed)
}

fn predict_image(
    plan: &ImagePlan,
    net: &UNet,
    pair: &FilePair,
    number: u64,
    device: Device,
) -> Result<()> {
    refuse_foreign(&pair.output)?;
    let raw = plan.prepare(png::read(&pair.input)?, number)?;
    let batch = stack(vec![raw], plan.precision.prediction().tensors, device)?;
    let probabilities = tch::no_grad(|| -> Result<_> {
        let logits = net.forward(&batch, false)?;
        Ok(net.activation().forward(&logits)?.f_to_kind(Kind::Float)?.f_to(Device::Cpu)?)
    })?;
    let size = probabilities.size();
    let (height, width) = (size[3] as usize, size[4] as usize);
    let flat = probabilities.f_contiguous()?;
    let values = as_slice::<f32>(&flat)?[..height * width].to_vec();
    let probabilities = Array2::from_shape_vec((height, width), values)?;
    let mask = Array3::from_shape_fn((1, height, width), |(_, y, x)| probabilities[(y, x)] > 0.5);
    let labels = components(mask.view(), Connectivity::Corners26).labels;
    let segmentation = Array2::from_shape_fn((height, width), |(y, x)| labels[(0, y, x)] as u16);
    if let Some(directory) = pair.output.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(directory)
            .with_context(|| format!("{}: cannot be made", directory.display()))?;
    }
    write_planes(
        &pair.output,
        &[
            ("predictions", Plane::Probabilities(probabilities)),
            ("segmentation", Plane::Labels(segmentation)),
        ],
    )
}

/// Refuses to replace a file that prediction did not write.
fn refuse_foreign(path: &Path) -> Result<()> {
    let is_ours = crate::format::open_file(path)
        .is_ok_and(|file| file.has("predictions") && file.has("segmentation") && !file.has("raw"));
    ensure!(
        !path.exists() || is_ours,
        "{}: exists and holds no predictions; it is not replaced. Move it away, or set \
         `loaders.output_dir`",
        path.display()
    );
    Ok(())
}
