//! Writes label images, and knows the files of a result again.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Result, ensure};
use ndarray::ArrayView4;

use crate::files::PartialFile;
use crate::format::{self, MADE_BY, Mark, nrrd_writer, tiff_writer};
use crate::regions::Runs;
use crate::volume::{
    Calibration, Compression, Edition, Encoding, NewVolume, StoredType, VolumeWriter,
};

/// By what files of ours are known.
pub const MARK: Mark<'static> = Mark {
    made_by: "unet3d instances",
    volumes: &["instances"],
    attributes: &["unet3d_version", "settings"],
    earlier: &[],
    otherwise: "was not written by this command",
};

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

/// A file that is complete and waits for its name.
pub enum Finished {
    /// One of HDF5, which tells by its own checksum whether it was changed.
    Volume(Box<dyn VolumeWriter>),
    Other(PartialFile),
}

/// Writes the regions 1 to `count` as a label image, uint16 or, for more of them,
/// uint32. In HDF5 it is the data set `instances`, compressed by that many threads,
/// and the file carries `settings`.
pub fn label_image(
    path: &Path,
    file: LabelFile,
    regions: &Runs,
    count: u32,
    voxel_size: Option<[f64; 3]>,
    settings: &str,
    threads: usize,
) -> Result<Finished> {
    let size = regions.size();
    let slice = |z: usize, labels: &mut [u32]| regions.expand(z..z + 1, labels, |label| label);
    match file {
        LabelFile::Nrrd => {
            let spacing = voxel_size.unwrap_or([1.0; 3]);
            nrrd_writer::write_labels(path, size, spacing, count, slice).map(Finished::Other)
        }
        LabelFile::Tiff => {
            tiff_writer::write_labels(path, size, count, MARK.made_by, slice).map(Finished::Other)
        }
        LabelFile::Hdf5 => {
            // Blocks are handed over as float32.
            ensure!(count <= 1 << 24, "{}: {count} regions are too many", path.display());
            let [depth, height, width] = size;
            let wide = count > u32::from(u16::MAX);
            let mut file = format::create(path, threads)?;
            file.attribute(MADE_BY, MARK.made_by)?;
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
            Ok(Finished::Volume(file))
        }
    }
}

/// Whether a file has the form of those that `unet3d instances` writes, or ANTSUN in its
/// own folders. Whether somebody has changed it since, the form does not tell.
pub fn has_our_form(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    path.is_file()
        && match extension.as_str() {
            "nrrd" => nrrd_writer::is_labels(path),
            "tif" => tiff_writer::note(path).as_deref() == Some(MARK.made_by),
            "csv" => starts_with(path, "id,voxels"),
            "txt" => starts_with(path, "index\n") || is_signal(path),
            _ => false,
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
