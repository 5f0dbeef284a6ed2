//! Images of OME-Zarr that are being written: an array with smaller ones made of it,
//! and the metadata of both.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::level::{ArraySpec, Level, file_sum, pretty, write_file};
use super::store::VOLUMES;
use super::version::{group_files, image_attributes, labels_attributes};
use crate::format::parallel::for_each_number;
use crate::volume::{Calibration, Compression, Edition, Encoding, NewVolume, StoredType, Window};

/// Length of y and x from which on a smaller level is made.
const SMALL: usize = 256;

/// Bytes that threads may hold together while they work on files of chunks.
const MEMORY: usize = 1 << 30;

/// A volume that becomes an image.
#[derive(Clone, Debug)]
pub(super) struct ImageSpec {
    pub name: String,
    /// (C, D, H, W)
    pub shape: [usize; 4],
    pub has_channels: bool,
    pub encoding: Encoding,
    pub compression: Compression,
    pub edition: Edition,
    pub labels: bool,
    pub calibration: Calibration,
}

impl ImageSpec {
    pub fn of(volume: &NewVolume<'_>, calibration: &Calibration) -> ImageSpec {
        ImageSpec {
            name: volume.name.to_owned(),
            shape: volume.shape,
            has_channels: volume.has_channels,
            encoding: volume.encoding,
            compression: volume.compression,
            edition: volume.edition,
            labels: volume.labels,
            calibration: calibration.clone(),
        }
    }
}

/// An image that is being written.
#[derive(Debug)]
pub(super) struct Image {
    spec: ImageSpec,
    /// Path of its group within the store, empty for the store itself.
    group: String,
    /// The largest first.
    pub levels: Vec<Level>,
    /// How much shorter each level is than the one before it, along its axes.
    factors: Vec<Vec<usize>>,
}

impl Image {
    /// Begins the arrays of an image in a store. Returns the checksum of their metadata,
    /// too.
    pub fn create(root: &Path, group: &str, spec: ImageSpec) -> Result<(Image, u64)> {
        let stored = spec.encoding.stored();
        let (mut levels, mut factors) = (Vec::new(), Vec::new());
        let (mut shape, mut sum) = (spec.shape, 0u64);
        let mut spacing = spec.calibration.spacing.unwrap_or([1.0; 3]);
        loop {
            let (compression, edition) = (spec.compression, spec.edition);
            let array = ArraySpec::of(shape, spec.has_channels, stored, compression, edition);
            let path = place(group, &levels.len().to_string());
            let (level, metadata) = Level::create(root, &path, array)?;
            sum = sum.wrapping_add(metadata);
            levels.push(level);
            let [_, d, h, w] = shape;
            if h.max(w) <= SMALL {
                break;
            }
            // Slices are taken together where they are not much further apart than pixels.
            let deep = d > 1 && spacing[0] <= 1.5 * spacing[1].min(spacing[2]);
            let factor = [1, if deep { 2 } else { 1 }, 2.min(h), 2.min(w)];
            shape = [0, 1, 2, 3].map(|axis| shape[axis].div_ceil(factor[axis]));
            spacing = [0, 1, 2].map(|axis| spacing[axis] * factor[axis + 1] as f64);
            factors.push(factor[usize::from(!spec.has_channels)..].to_vec());
        }
        Ok((Image { spec, group: group.to_owned(), levels, factors }, sum))
    }

    /// Channels and box of a file of chunks of the largest level.
    pub fn block(&self, number: usize) -> (std::ops::Range<usize>, Window) {
        let spec = &self.levels[0].spec;
        let (origin, size) = spec.place(&spec.file_number(number));
        let from = usize::from(self.spec.has_channels);
        let three = |numbers: &[usize]| [numbers[from], numbers[from + 1], numbers[from + 2]];
        let channels = if from == 1 { origin[0]..origin[0] + size[0] } else { 0..1 };
        (channels, Window::new(three(&origin), three(&size)))
    }

    pub fn channels(&self) -> usize {
        self.spec.shape[0]
    }

    /// Depth, height and width of a file of chunks of the largest level.
    pub fn file_size(&self) -> [usize; 3] {
        let file = &self.levels[0].spec.file()[usize::from(self.spec.has_channels)..];
        [file[0], file[1], file[2]]
    }

    /// The files of chunks of the largest level that lie within a window, which begins at
    /// the beginning of one: their numbers along each axis, channels and boxes.
    pub fn files_within(
        &self,
        window: &Window,
    ) -> Vec<(Vec<usize>, std::ops::Range<usize>, Window)> {
        let spec = &self.levels[0].spec;
        let all = (0..spec.file_count()).map(|number| (number, self.block(number)));
        let within = all.filter(|(_, (_, part))| {
            (0..3).all(|axis| {
                part.origin[axis] >= window.origin[axis] && part.end()[axis] <= window.end()[axis]
            })
        });
        within
            .map(|(number, (channels, part))| (spec.file_number(number), channels, part))
            .collect()
    }

    /// Makes all levels but the largest. Returns the checksum of their chunks.
    pub fn make_levels(&self, threads: usize) -> Result<u64> {
        let sum = AtomicU64::new(0);
        for (number, factor) in self.factors.iter().enumerate() {
            let (larger, level) = (&self.levels[number], &self.levels[number + 1]);
            // The larger one is up to eight times as large.
            let workers = workers(threads, 10 * level.spec.file_bytes());
            for_each_number(level.spec.file_count(), workers, &|file| {
                let file = level.spec.file_number(file);
                let inner = threads.div_ceil(workers);
                let labels = self.spec.labels;
                let found = level.store_smaller(larger, factor, &file, labels, inner)?;
                sum.fetch_add(found, Ordering::Relaxed);
                Ok(())
            })?;
        }
        Ok(sum.into_inner())
    }

    /// What OME-Zarr says of the image.
    fn ome(&self) -> Map<String, Value> {
        let Calibration { spacing, unit, origin, channels, .. } = &self.spec.calibration;
        let has_channels = self.spec.has_channels;
        let mut axes = Vec::new();
        if has_channels {
            axes.push(json!({"name": "c", "type": "channel"}));
        }
        for name in ["z", "y", "x"] {
            axes.push(match unit {
                Some(unit) => json!({"name": name, "type": "space", "unit": unit.name()}),
                None => json!({"name": name, "type": "space"}),
            });
        }
        let of_axes = |first: f64, [z, y, x]: [f64; 3]| {
            if has_channels { json!([first, z, y, x]) } else { json!([z, y, x]) }
        };
        let spacing = spacing.unwrap_or([1.0; 3]);
        let mut times = [1usize; 3];
        let mut datasets = Vec::new();
        for number in 0..self.levels.len() {
            if let Some(factor) = number.checked_sub(1).map(|before| &self.factors[before]) {
                let factor = &factor[usize::from(has_channels)..];
                times = [0, 1, 2].map(|axis| times[axis] * factor[axis]);
            }
            let scale = [0, 1, 2].map(|axis| spacing[axis] * times[axis] as f64);
            let mut steps = vec![json!({"type": "scale", "scale": of_axes(1.0, scale)})];
            if origin.is_some() || number > 0 {
                // The middle of the first voxel.
                let first = origin.unwrap_or_default();
                let place = [0, 1, 2]
                    .map(|axis| first[axis] + spacing[axis] * (times[axis] as f64 - 1.0) / 2.0);
                steps.push(json!({"type": "translation", "translation": of_axes(0.0, place)}));
            }
            datasets.push(json!({
                "path": number.to_string(),
                "coordinateTransformations": steps,
            }));
        }
        let mut ome = Map::new();
        ome.insert(
            "multiscales".into(),
            json!([{
                "name": self.spec.name,
                "axes": axes,
                "datasets": datasets,
                "type": if self.spec.labels { "nearest" } else { "mean" },
            }]),
        );
        if has_channels && channels.len() == self.spec.shape[0] {
            let window = window(self.spec.encoding.stored());
            let channels: Vec<Value> = channels
                .iter()
                .map(|name| {
                    let active = true;
                    json!({"label": name, "color": "FFFFFF", "active": active, "window": window})
                })
                .collect();
            ome.insert("omero".into(), json!({"channels": channels}));
        }
        ome
    }
}

/// The range of values that a program shows at first.
fn window(stored: StoredType) -> Value {
    let (min, max) = match stored {
        StoredType::U8 => (0.0, 255.0),
        StoredType::U16 => (0.0, 65_535.0),
        StoredType::I8 => (-128.0, 127.0),
        StoredType::F16 | StoredType::F32 | StoredType::F64 => (0.0, 1.0),
        _ => (-32_768.0, 32_767.0),
    };
    json!({"min": min, "max": max, "start": min, "end": max})
}

/// As many threads as may hold that many bytes each.
pub(super) fn workers(threads: usize, bytes: usize) -> usize {
    (MEMORY / bytes.max(1)).clamp(1, threads.max(1))
}

/// The path of a node within a group of the store.
fn place(group: &str, name: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{group}/{name}") }
}

/// Group of the images beside the first one, where OME-Zarr has label images.
const LABELS: &str = "labels";

/// The group of the `number`-th image of a store.
pub(super) fn group_of(number: usize, name: &str) -> String {
    if number == 0 { String::new() } else { format!("{LABELS}/{name}") }
}

/// Attribute of the store: the checksum of all its files.
pub(super) const CHECKSUM: &str = "checksum";

/// What stands for a checksum that is not known yet.
pub(super) const NO_CHECKSUM: &str = "0000000000000000";

/// Writes the metadata of all groups; the store is complete afterwards. `sum` is the
/// checksum of all other files.
pub(super) fn write_groups(
    root: &Path,
    images: &[&Image],
    texts: &[(String, String)],
    mut sum: u64,
) -> Result<()> {
    let edition = images.first().map(|image| image.spec.edition).unwrap_or_default();
    let mut put = |group: &str, attributes: Value| -> Result<()> {
        for (name, json) in group_files(edition, attributes) {
            let (path, content) = (place(group, name), pretty(&json)?);
            write_file(root, &path, &content)?;
            sum = sum.wrapping_add(file_sum(&path, &content));
        }
        Ok(())
    };
    let mut volumes = Map::new();
    for image in images {
        volumes.insert(image.spec.name.clone(), image.group.clone().into());
    }
    let labels: Vec<&str> = images.iter().skip(1).map(|image| image.spec.name.as_str()).collect();
    if !labels.is_empty() {
        put(LABELS, labels_attributes(edition, &labels).into())?;
    }
    for image in images.iter().skip(1) {
        let mut ome = image.ome();
        ome.insert("image-label".into(), json!({"source": {"image": "../../"}}));
        put(&image.group, image_attributes(edition, ome).into())?;
    }
    let mut ours = Map::new();
    ours.insert(CHECKSUM.into(), NO_CHECKSUM.into());
    ours.insert(VOLUMES.into(), volumes.into());
    for (name, text) in texts {
        ours.insert(name.clone(), text.clone().into());
    }
    // Without a voxel size, OME-Zarr wants one nevertheless.
    if images.iter().any(|image| image.spec.calibration.spacing.is_none()) {
        ours.insert(NO_VOXEL_SIZE.into(), true.into());
    }
    if let Some(directions) = images.iter().find_map(|image| image.spec.calibration.directions) {
        ours.insert(DIRECTIONS.into(), json!(directions));
    }
    let first = images.first().map(|image| image.ome()).unwrap_or_default();
    let first = image_attributes(edition, first);
    let files = |ours: &Map<String, Value>| {
        let mut attributes = first.clone();
        attributes.insert("unet3d".into(), ours.clone().into());
        group_files(edition, attributes.into())
    };
    for (name, json) in files(&ours) {
        sum = sum.wrapping_add(file_sum(name, &pretty(&json)?));
    }
    ours.insert(CHECKSUM.into(), format!("{sum:016x}").into());
    for (name, json) in files(&ours) {
        write_file(root, name, &pretty(&json)?)?;
    }
    Ok(())
}

/// Attribute of stores whose voxel size is not known.
pub(super) const NO_VOXEL_SIZE: &str = "no_voxel_size";

/// Attribute for what OME-Zarr has no room for: directions of z, y and x.
pub(super) const DIRECTIONS: &str = "directions_zyx";
