//! Writes label images and tables, and knows its own again.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ndarray::ArrayView4;

use crate::files;
use crate::format::{self, nrrd_writer, tiff_writer};
use crate::regions::Runs;
use crate::volume::{Calibration, Compression, Edition, Encoding, NewVolume, StoredType};

/// By what files of ours are known.
pub const MADE_BY: &str = "unet3d instances";

/// The format of a label image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelFile {
    Hdf5,
    Nrrd,
    Tiff,
}

impl LabelFile {
    pub fn extension(self) -> &'static str {
        match self {
            LabelFile::Hdf5 => "h5",
            LabelFile::Nrrd => "nrrd",
            LabelFile::Tiff => "tif",
        }
    }
}

/// Writes the regions 1 to `count` as a label image, uint16 or, for more of them,
/// uint32. In HDF5 it is the data set `instances`, compressed by that many threads,
/// and the file carries `settings`.
pub fn write_labels(
    path: &Path,
    file: LabelFile,
    regions: &Runs,
    count: u32,
    voxel_size: Option<[f64; 3]>,
    settings: &str,
    threads: usize,
) -> Result<()> {
    let size = regions.size();
    let slice = |z: usize, labels: &mut [u32]| regions.expand(z..z + 1, labels, |label| label);
    match file {
        LabelFile::Nrrd => {
            let spacing = voxel_size.unwrap_or([1.0; 3]);
            nrrd_writer::write_labels(path, size, spacing, count, slice)
        }
        LabelFile::Tiff => tiff_writer::write_labels(path, size, count, MADE_BY, slice),
        LabelFile::Hdf5 => {
            // Blocks are handed over as float32.
            ensure!(count <= 1 << 24, "{}: {count} regions are too many", path.display());
            let [depth, height, width] = size;
            let wide = count > u32::from(u16::MAX);
            let mut file = format::create(path, threads)?;
            file.attribute("made_by", MADE_BY)?;
            file.attribute("unet3d_version", env!("CARGO_PKG_VERSION"))?;
            file.attribute("settings", settings)?;
            let volume = file.begin(&NewVolume {
                name: "instances",
                shape: [1, depth, height, width],
                has_channels: false,
                encoding: Encoding::Number(if wide { StoredType::U32 } else { StoredType::U16 }),
                compression: Compression::Gzip { level: 4 },
                edition: Edition::Newest,
                labels: true,
            })?;
            if let Some(size) = voxel_size {
                file.calibrate(volume, &Calibration::micrometres(size))?;
            }
            // A few slices at a time, so that little is held beside the runs.
            let step = ((1 << 22) / (height * width).max(1)).clamp(1, depth.max(1));
            let mut labels = Vec::new();
            for z in (0..depth).step_by(step) {
                let slices = z..(z + step).min(depth);
                labels.resize(slices.len() * height * width, 0.0f32);
                regions.expand(slices.clone(), &mut labels, |label| label as f32);
                let shape = (1, slices.len(), height, width);
                file.write(volume, [0, z, 0], ArrayView4::from_shape(shape, &labels)?)?;
            }
            file.finish()
        }
    }
}

/// Writes a text, replacing what stood there.
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    files::write(path, |mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("{}: writing failed", path.display()))
}

/// Whether a file was written by `unet3d instances`, or by ANTSUN in its own folders,
/// so that nothing is lost by replacing it.
pub fn is_ours(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    match extension.as_str() {
        "nrrd" => nrrd_writer::is_labels(path),
        "tif" => tiff_writer::note(path).as_deref() == Some(MADE_BY),
        "csv" => starts_with(path, "id,voxels"),
        "txt" => starts_with(path, "index\n") || is_signal(path),
        "png" => super::preview::is_preview(path),
        _ => format::open_file(path)
            .is_ok_and(|file| file.attribute("made_by").ok().flatten().as_deref() == Some(MADE_BY)),
    }
}

fn starts_with(path: &Path, text: &str) -> bool {
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(text.len() as u64).read_to_end(&mut start))
        .is_ok_and(|_| start == text.as_bytes())
}

/// Whether every line of a file is a number, as in `marker_signal/<t>.txt`.
fn is_signal(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.lines().all(|line| line.parse::<f64>().is_ok()))
}
