//! `DSB2018Dataset`: folders of 2D images and masks as PNG files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::data_sets::{DataSetEntry, Opening};
use super::entries;
use super::inspection;
use super::labels::{LabelCheck, position};
use super::loaders::{Loaders, Phase};
use super::sample_set::{Origin, SampleSet};
use crate::augment::stream::SampleKey;
use crate::augment::{SampleShape, Transformer};
use crate::config::Parameter;
use crate::files;
use crate::format::png;
use crate::volume::{Access, Sample, Statistics, StatisticsBuilder, Volume, VolumeShape, Window};

pub(super) static ENTRY: DataSetEntry = DataSetEntry {
    name: "DSB2018Dataset",
    meaning: "whole 2D images and masks, from folders of PNG files",
    parameters: &[],
    access: Access::Memory,
    has_slice_builder: false,
    refuses_prediction: Some(
        "is for training only; write the images to HDF5 files, (1, H, W), and use \
         StandardHDF5Dataset",
    ),
    open,
};

/// Which prediction can work with, too.
pub(super) static UPSTREAM: DataSetEntry = DataSetEntry {
    parameters: &[Parameter::flag(
        "expand_dims",
        true,
        "images (H, W) become (1, H, W); always done",
    )],
    refuses_prediction: None,
    ..ENTRY
};

fn open(loaders: &Loaders, phase: &Phase, opening: &Opening<'_>) -> Result<Arc<dyn SampleSet>> {
    let mut images = ImagePairs::open(loaders, phase, opening.seed)?;
    images.labels = opening.check_all(&images.transformer, images.inputs())?;
    for pair in &images.pairs {
        let mask = Some(pair.mask.clone().into());
        let sample = Sample { raw: pair.image.clone(), label: mask, weight: None };
        if inspection::is_idle(&sample, opening.counting) {
            let whole = Window::whole(pair.mask.size());
            inspection::warn_of_idle(&pair.path, 1, 1, &whole);
        }
    }
    Ok(Arc::new(images))
}

/// Whole 2D images with their masks, each as a volume (1, H, W).
///
/// A root directory holds `images/` and `masks/`; files of the same name without
/// extension belong together. Statistics are taken over all images.
pub struct ImagePairs {
    pairs: Vec<Pair>,
    transformer: Arc<Transformer>,
    statistics: Statistics,
    seed: u64,
    labels: Option<LabelCheck>,
}

struct Pair {
    path: PathBuf,
    image: Volume,
    mask: Volume,
}

impl ImagePairs {
    /// Reads all images of a training or validation phase.
    ///
    /// # Errors
    /// A root without the two folders, images without a mask or the reverse,
    /// files that are no grey PNG, a mask of another size than its image, and
    /// images of several sizes that would have to share a batch.
    pub fn open(loaders: &Loaders, phase: &Phase, seed: u64) -> Result<ImagePairs> {
        let transformer = phase.transformer.clone();
        let mut pairs = Vec::new();
        for entry in entries(&phase.file_paths.node)? {
            let root = &entry.file_path()?;
            pairs.extend(read_root(root).map_err(|error| entry.error(format!("{error:#}")))?);
        }
        if loaders.batch_size > 1 {
            let first = &pairs[0];
            if let Some(other) = pairs.iter().find(|pair| pair.image.size() != first.image.size()) {
                bail!(loaders.error(
                    "batch_size",
                    format!(
                        "images of several sizes cannot share a batch: {} is {:?}, {} is {:?}; \
                         set `batch_size: 1`",
                        first.path.display(),
                        first.image.shape(),
                        other.path.display(),
                        other.image.shape()
                    ),
                ));
            }
        }
        // One image after the other, as if each were a plane of one volume.
        let mut builder = StatisticsBuilder::new(1, pairs.len());
        for (number, pair) in pairs.iter().enumerate() {
            builder.add(&pair.image, 0, number).with_context(|| pair.path.display().to_string())?;
        }
        let statistics = builder.finish();
        transformer.check_statistics(&statistics)?;
        Ok(ImagePairs { pairs, transformer, statistics, seed, labels: None })
    }

    /// Has every label checked before it is handed on.
    pub fn with_label_check(mut self, check: LabelCheck) -> ImagePairs {
        self.labels = Some(check);
        self
    }

    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// What each image and its mask look like before they are transformed.
    pub fn inputs(&self) -> impl Iterator<Item = (&Path, SampleShape)> {
        self.pairs.iter().map(|pair| {
            let shape = |volume: &Volume| VolumeShape {
                channels: None,
                element: volume.element(),
                sizes: vec![volume.size()],
            };
            let shapes = SampleShape {
                raw: shape(&pair.image),
                label: Some(shape(&pair.mask)),
                weight: None,
            };
            (pair.path.as_path(), shapes)
        })
    }

    /// Bytes of the images that are held in memory.
    pub fn bytes_held(&self) -> usize {
        self.pairs.iter().map(|pair| pair.image.bytes() + pair.mask.bytes()).sum()
    }
}

impl SampleSet for ImagePairs {
    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn sample(&self, epoch: u64, index: usize) -> Result<Sample> {
        let pair = &self.pairs[index];
        let sample =
            Sample { raw: pair.image.clone(), label: Some(pair.mask.clone().into()), weight: None };
        let key = SampleKey { seed: self.seed, epoch, sample: index as u64 };
        let sample = self.transformer.apply(sample, key, &self.statistics)?;
        if let (Some(check), Some(label)) = (&self.labels, &sample.label)
            && let Some(outside) = check.find(label)
        {
            let [_, _, y, x] = position(&pair.mask, outside.value).unwrap_or(outside.voxel);
            bail!("its mask, pixel (y {y}, x {x}): {}", check.message(outside.value));
        }
        Ok(sample)
    }

    fn origin(&self, _: u64, index: usize) -> Origin {
        Origin { path: self.pairs[index].path.clone(), window: None }
    }

    fn sample_bytes(&self) -> usize {
        let bytes = |pair: &Pair| 10 * pair.image.size().iter().product::<usize>() * 2;
        self.pairs.iter().map(bytes).max().unwrap_or(0)
    }
}

fn read_root(root: &Path) -> Result<Vec<Pair>> {
    let images = list(&root.join("images"))?;
    let mut masks = list(&root.join("masks"))?;
    let mut pairs = Vec::new();
    for (name, path) in images {
        let mask = masks.remove(&name).ok_or_else(|| {
            anyhow!("the image {} has no mask {}/masks/{name}.png", path.display(), root.display())
        })?;
        let (image, mask_path) = (png::read(&path)?, mask);
        let mask = png::read(&mask_path)?;
        ensure!(
            image.size() == mask.size(),
            "the image {} is {:?}, its mask {} is {:?}; they must have the same size",
            path.display(),
            &image.size()[1..],
            mask_path.display(),
            &mask.size()[1..]
        );
        pairs.push(Pair { path, image, mask });
    }
    if let Some(path) = masks.values().next() {
        bail!("the mask {} has no image of that name in {}/images", path.display(), root.display());
    }
    pairs.sort_by(|a, b| {
        files::by_natural_order(&a.path.to_string_lossy(), &b.path.to_string_lossy())
    });
    Ok(pairs)
}

/// The PNG files of a folder by name without extension.
fn list(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let absolute = absolute.display();
    let cure = "DSB2018Dataset wants a directory with the folders `images` and `masks`";
    let found = files::list(folder, |extension| extension.eq_ignore_ascii_case("png"))
        .map_err(|error| anyhow!("the folder {absolute} cannot be read ({error}); {cure}"))?;
    ensure!(!found.is_empty(), "the folder {absolute} holds no PNG file");
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(found.into_iter().map(|path| (name(&path), path)).collect())
}
