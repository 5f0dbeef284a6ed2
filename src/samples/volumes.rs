//! `StandardHDF5Dataset` and `LazyHDF5Dataset`: patches of volumes, which are held in
//! memory or read on demand.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail, ensure};

use super::Window;
use super::data_sets::{DataSetEntry, Opening};
use super::files::SampleFiles;
use super::inspection::{self, Counting};
use super::labels::{LabelCheck, position};
use super::loaders::{Loaders, Phase, RandomScale};
use super::random_scale::rescale;
use super::sample_set::{Origin, SampleSet};
use super::slices::{SliceBuilder, Targets, WindowDraws};
use super::summary::RawSummary;
use crate::augment::stream::SampleKey;
use crate::augment::{SampleShape, Transformer};
use crate::format;
use crate::resample::grid::{Interpolation, grids_to, resampled};
use crate::volume::{
    Access, Sample, Source, Statistics, VolumeFile, VolumeReader, VolumeShape, Voxels,
};

pub(super) static STANDARD: DataSetEntry = DataSetEntry {
    name: "StandardHDF5Dataset",
    meaning: "patches of volumes that are held in memory",
    parameters: &[],
    access: Access::Memory,
    has_slice_builder: true,
    refuses_prediction: None,
    open,
};

pub(super) static LAZY: DataSetEntry = DataSetEntry {
    name: "LazyHDF5Dataset",
    meaning: "patches of volumes that are read from their files patch by patch",
    access: Access::File,
    ..STANDARD
};

fn open(loaders: &Loaders, phase: &Phase, opening: &Opening<'_>) -> Result<Arc<dyn SampleSet>> {
    let mut patches = VolumePatches::open(loaders, phase, opening.seed)?;
    patches.labels = opening.check_all(&patches.transformer, patches.inputs())?;
    patches.counting = opening.counting;
    patches.warn_of_idle_patches();
    Ok(Arc::new(patches))
}

/// The patches of all files of a training or validation phase.
///
/// Samples are numbered through the files in their order.
pub struct VolumePatches {
    files: Vec<FilePatches>,
    /// The number of the first sample of each file.
    starts: Vec<usize>,
    builder: Arc<dyn SliceBuilder>,
    transformer: Arc<Transformer>,
    random_scale: Option<RandomScale>,
    seed: u64,
    labels: Option<LabelCheck>,
    /// What counts in the loss.
    counting: Counting,
    redrawn: Mutex<Redrawn>,
}

/// Windows by file and epoch.
type Redrawn = HashMap<(usize, u64), Arc<Vec<Window>>>;

struct FilePatches {
    path: PathBuf,
    /// The file of the labels, where it is another.
    label_path: Option<PathBuf>,
    raw: Source,
    label: Source,
    weight: Option<Source>,
    statistics: Statistics,
    /// Size of a voxel along z, y and x in micrometres, if the file tells.
    voxel_size: Option<[f64; 3]>,
    /// The windows of the first epoch.
    windows: Vec<Window>,
    /// Whether the user was told of a patch in which nothing counts.
    told: AtomicBool,
}

impl VolumePatches {
    /// Opens all files of a phase (`loaders.train`, `loaders.val`) and finds
    /// their patches.
    ///
    /// # Errors
    /// Any file that is missing or broken, that lacks a data set, whose label or
    /// weight has another (D, H, W) than its raw data, that a transform cannot
    /// work on or that the patch does not fit.
    pub fn open(loaders: &Loaders, phase: &Phase, seed: u64) -> Result<VolumePatches> {
        let patches = phase.patches.as_ref();
        let patches = patches.ok_or_else(|| phase.node.error("the slice builder is missing"))?;
        let (builder, transformer) = (patches.builder.clone(), phase.transformer.clone());
        let mut files = Vec::new();
        let mut starts = vec![0];
        for (number, paths) in phase.files()?.iter().enumerate() {
            let mut file = FilePatches::open(paths, loaders, (&*builder, &transformer))?;
            transformer
                .check_statistics(&file.statistics)
                .with_context(|| paths.raw.display().to_string())?;
            let draw = WindowDraws { seed, epoch: 0, file: number as u64 };
            file.windows = builder.windows(&file.targets(), &draw)?;
            starts.push(starts[number] + file.windows.len());
            files.push(file);
        }
        let redrawn = Mutex::default();
        Ok(VolumePatches {
            files,
            starts,
            builder,
            transformer,
            random_scale: loaders.random_scale,
            seed,
            labels: None,
            counting: Counting::default(),
            redrawn,
        })
    }

    /// Has every label checked before it is handed on.
    pub fn with_label_check(mut self, check: LabelCheck) -> VolumePatches {
        self.labels = Some(check);
        self
    }

    /// What the patches of each file look like before they are transformed.
    pub fn inputs(&self) -> impl Iterator<Item = (&Path, SampleShape)> {
        let patch = self.builder.patch();
        self.files.iter().map(move |file| {
            let shapes = SampleShape {
                raw: shape(&file.raw, patch),
                label: Some(shape(&file.label, patch)),
                weight: file.weight.as_ref().map(|weight| shape(weight, patch)),
            };
            (file.path.as_path(), shapes)
        })
    }

    /// The number of patches and the statistics of each file.
    pub fn files(&self) -> impl Iterator<Item = (&Path, usize, Statistics)> {
        self.files.iter().map(|file| (file.path.as_path(), file.windows.len(), file.statistics))
    }

    /// Bytes of the volumes that are held in memory.
    pub fn bytes_held(&self) -> usize {
        self.files.iter().flat_map(FilePatches::sources).map(Source::bytes_held).sum()
    }

    /// Tells of patches of the first epoch in which nothing counts, of the files that
    /// are held in memory; of others, the first one is told of when it is read.
    fn warn_of_idle_patches(&self) {
        for (file, start) in self.files.iter().zip(&self.starts) {
            let windows = &file.windows;
            let found =
                inspection::idle_windows(&file.label, file.weight.as_ref(), windows, self.counting);
            let Some(&first) = found.first() else { continue };
            // Transforms may make something of it that counts. What goes wrong here
            // does so again when the sample is wanted.
            let sample = self.transformed(file, &windows[first], 0, start + first);
            if sample.is_ok_and(|sample| inspection::is_idle(&sample, self.counting)) {
                file.told.store(true, Ordering::Relaxed);
                let (number, all) = (found.len(), windows.len());
                inspection::warn_of_idle(&file.path, number, all, &windows[first]);
            }
        }
    }

    /// A sample as the network gets it.
    fn transformed(
        &self,
        file: &FilePatches,
        window: &Window,
        epoch: u64,
        index: usize,
    ) -> Result<Sample> {
        let sample = Sample {
            raw: file.raw.window(window)?,
            label: Some(file.label.voxels(window)?),
            weight: file.weight.as_ref().map(|weight| weight.voxels(window)).transpose()?,
        };
        let key = SampleKey { seed: self.seed, epoch, sample: index as u64 };
        self.transformer.apply(sample, key, &file.statistics)
    }

    fn locate(&self, index: usize) -> (usize, usize) {
        let file = self.starts.partition_point(|&start| start <= index) - 1;
        (file, index - self.starts[file])
    }

    fn window(&self, epoch: u64, index: usize) -> Result<(&FilePatches, Window)> {
        let (number, patch) = self.locate(index);
        let file = &self.files[number];
        if epoch == 0 || !self.builder.redraws() {
            return Ok((file, file.windows[patch]));
        }
        let mut redrawn = self.redrawn.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(windows) = redrawn.get(&(number, epoch)) {
            return Ok((file, windows[patch]));
        }
        // What epochs before the last used is not asked for again.
        redrawn.retain(|(_, known), _| known + 1 >= epoch);
        let draw = WindowDraws { seed: self.seed, epoch, file: number as u64 };
        let windows = Arc::new(self.builder.windows(&file.targets(), &draw)?);
        redrawn.insert((number, epoch), windows.clone());
        Ok((file, windows[patch]))
    }

    fn check_labels(&self, label: &Voxels, file: &FilePatches, window: &Window) -> Result<()> {
        let Some(check) = &self.labels else { return Ok(()) };
        let Some(outside) = check.find(label) else { return Ok(()) };
        // Transforms may have moved the voxel: say where the file has it.
        let place = match position(&file.label.window(window)?, outside.value) {
            Some([_, z, y, x]) => {
                let [z0, y0, x0] = window.origin;
                format!("voxel (z {}, y {}, x {})", z + z0, y + y0, x + x0)
            }
            None => {
                let [_, z, y, x] = outside.voxel;
                format!("after the transforms, voxel (z {z}, y {y}, x {x}) of the patch")
            }
        };
        let place = match &file.label_path {
            Some(path) => format!("{place} of {}", path.display()),
            None => place,
        };
        bail!("{place}: {}", check.message(outside.value))
    }
}

impl SampleSet for VolumePatches {
    fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    fn sample(&self, epoch: u64, index: usize) -> Result<Sample> {
        let (file, mut window) = self.window(epoch, index)?;
        if let Some(scale) = &self.random_scale {
            let key = SampleKey { seed: self.seed, epoch, sample: index as u64 };
            window = scale.window(window, file.raw.size(), key);
        }
        let mut sample = self.transformed(file, &window, epoch, index)?;
        if self.random_scale.is_some() {
            sample = rescale(sample, self.builder.patch())?;
        }
        if let Some(label) = &sample.label {
            self.check_labels(label, file, &window)?;
        }
        if !file.told.load(Ordering::Relaxed)
            && inspection::is_idle(&sample, self.counting)
            && !file.told.swap(true, Ordering::Relaxed)
        {
            inspection::warn_of_idle(&file.path, 1, file.windows.len(), &window);
        }
        Ok(sample)
    }

    fn origin(&self, epoch: u64, index: usize) -> Origin {
        let (file, _) = self.locate(index);
        let window = self.window(epoch, index).ok().map(|(_, window)| window);
        Origin { path: self.files[file].path.clone(), window }
    }

    fn sample_bytes(&self) -> usize {
        let voxels: usize = self.builder.patch().iter().product();
        // The patch as it is, as float32 and once more while it is resampled.
        let bytes = |source: &Source| match source {
            Source::Memory(held) if !matches!(**held, Voxels::Dense(_)) => voxels * (2 + 4 + 4),
            _ => source.channels() * voxels * (source.element().size() + 4 + 4),
        };
        self.files.iter().map(|file| file.sources().map(bytes).sum()).max().unwrap_or(0)
    }

    fn summary(&self) -> Option<RawSummary> {
        let told = |file: &FilePatches| {
            let voxels = file.raw.size().iter().product::<usize>() * file.raw.channels();
            (voxels as u64, file.statistics, file.voxel_size)
        };
        RawSummary::of(&self.files.iter().map(told).collect::<Vec<_>>())
    }
}

fn shape(source: &Source, patch: [usize; 3]) -> VolumeShape {
    VolumeShape {
        channels: source.has_channels().then(|| source.channels()),
        element: source.element(),
        sizes: vec![patch],
    }
}

/// Opens the labels or weights (`kind`) of raw data, from a file of their own or from that
/// of the raw data. `name` and `raw_name` are those of the volumes within files.
fn open_target(
    own: Option<&Path>,
    raw_file: &dyn VolumeFile,
    (name, kind): (&str, &str),
    (raw, raw_name): (&dyn VolumeReader, &str),
) -> Result<Arc<dyn VolumeReader>> {
    let target = match own {
        Some(path) => format::open(path, name).with_context(|| format!("the {kind} file")),
        None => {
            ensure!(
                raw_file.names_volumes() || name == raw_name,
                "{}: the file holds one volume, which is the raw data, and has no place for \
                 `{name}`: name the other file, as in `file_paths: [{{raw: a.tif, {kind}: \
                 b.tif}}]` or with `{kind}_paths`, or set `loaders.{kind}_internal_path: \
                 {raw_name}` if the volume is meant to serve as both",
                raw_file.path().display()
            );
            let named = || format!("`loaders.{kind}_internal_path`");
            raw_file.volume(name).with_context(named)
        }
    }?;
    ensure!(
        target.size() == raw.size(),
        "{} is {:?}, {} is {:?}; their depth, height and width must be the same",
        target.describe(),
        target.shape(),
        if own.is_some() { raw.describe() } else { format!("`{raw_name}`") },
        raw.shape()
    );
    Ok(target)
}

impl FilePatches {
    fn open(
        paths: &SampleFiles,
        loaders: &Loaders,
        (builder, transformer): (&dyn SliceBuilder, &Transformer),
    ) -> Result<FilePatches> {
        let file = format::open_file(&paths.raw)?;
        let raw = file.volume(&loaders.raw)?;
        let target = |own: &Option<PathBuf>, name: &str, kind: &str| {
            open_target(own.as_deref(), &*file, (name, kind), (&*raw, &loaders.raw))
        };
        let label = target(&paths.label, &loaders.label, "label")?;
        let weight = loaders.weight.as_deref();
        let weight = weight.map(|name| target(&paths.weight, name, "weight")).transpose()?;
        let (raw, label, weight) = match loaders.voxel_size {
            Some(size) => {
                let grids = grids_to(&*raw, size)?;
                let nearest = |reader| resampled(reader, grids, Interpolation::Nearest);
                let raw = resampled(raw, grids, Interpolation::Linear);
                (raw, nearest(label), weight.map(nearest))
            }
            None => (raw, label, weight),
        };
        let access = loaders.dataset.access;
        let voxel_size = loaders.voxel_size.or_else(|| raw.voxel_size());
        let (raw, statistics) = Source::raw(raw, access)?;
        let readers = (label.clone(), weight.clone());
        let label = Source::label(label, access)?;
        let weight = weight.map(|weight| Source::weight(weight, access)).transpose()?;
        let patch = builder.patch();
        let shapes = SampleShape {
            raw: shape(&raw, patch),
            label: Some(shape(&label, patch)),
            weight: weight.as_ref().map(|weight| shape(weight, patch)),
        };
        // Transforms that cannot take these shapes are refused later.
        let made = transformer.output_shape(shapes).ok().and_then(|output| output.label);
        let cut = made.is_some_and(|label| !label.element.is_float());
        inspection::labels(&label, &*readers.0, cut)?;
        if let (Some(weight), Some(reader)) = (&weight, &readers.1) {
            inspection::weights(weight, &**reader)?;
        }
        Ok(FilePatches {
            path: paths.raw.clone(),
            label_path: paths.label.clone(),
            raw,
            label,
            weight,
            statistics,
            voxel_size,
            windows: Vec::new(),
            told: AtomicBool::new(false),
        })
    }

    fn targets(&self) -> Targets<'_> {
        Targets {
            path: &self.path,
            size: self.raw.size(),
            label: Some(&self.label),
            weight: self.weight.as_ref(),
        }
    }

    fn sources(&self) -> impl Iterator<Item = &Source> {
        [&self.raw, &self.label].into_iter().chain(&self.weight)
    }
}
