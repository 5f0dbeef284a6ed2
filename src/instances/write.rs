//! Writes label images, and knows the files of a result again.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ndarray::ArrayView4;

use crate::files::PartialFile;
use crate::format::{self, Format, MADE_BY, Mark, nrrd_writer};
use crate::regions::Runs;
use crate::volume::{
    Block, Calibration, Compression, Edition, Encoding, NewVolume, StoredType, VolumeWriter,
};

/// By what files of ours are known.
pub const MARK: Mark<'static> = Mark {
    made_by: "unet3d instances",
    volumes: &["instances"],
    attributes: &["unet3d_version", "settings"],
    earlier: &[],
    otherwise: "was not written by this command",
};

/// How label images are compressed.
const COMPRESSION: Compression = Compression::Gzip { level: 4 };

/// The names of the formats of label images, as `--format` takes them. `input` is the one
/// of the prediction, if it can be written.
pub const LABEL_FORMATS: &[&str] =
    &["input", "hdf5", "h5", "zarr", "tiff", "nrrd", "nifti", "metaimage"];

/// The format of a label image.
#[derive(Clone, Copy)]
pub enum LabelFile {
    /// NRRD with the header that ANTSUN's programs write.
    Antsun,
    /// A format of volumes.
    Volume(&'static Format),
}

impl LabelFile {
    /// The format that one of [`LABEL_FORMATS`] names for a prediction.
    pub fn named(name: &str, prediction: &Path) -> LabelFile {
        let name = if name == "h5" { "hdf5" } else { name };
        let own = || format::of_results(prediction);
        LabelFile::Volume(format::writable(name).unwrap_or_else(own))
    }

    pub fn extension(self) -> &'static str {
        match self {
            LabelFile::Antsun => "nrrd",
            LabelFile::Volume(format) => format.result_extension(COMPRESSION),
        }
    }
}

/// A file that is complete and waits for its name.
pub enum Finished {
    /// A file or store of a volume, which tells by its own checksum whether it was changed.
    Volume(Box<dyn VolumeWriter>),
    Other(PartialFile),
}

/// Writes the regions 1 to `count` as a label image, uint16 or, for more of them,
/// uint32, compressed by that many threads. The volume is called `instances`, and the file
/// carries `settings`, but for ANTSUN's, which has no place for either.
///
/// # Errors
/// A file that cannot be written, and more regions than int32 counts.
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
    if let LabelFile::Antsun = file {
        let slice = |z: usize, labels: &mut [u32]| regions.expand(z..z + 1, labels, |label| label);
        let spacing = voxel_size.unwrap_or([1.0; 3]);
        return nrrd_writer::write_labels(path, size, spacing, count, slice).map(Finished::Other);
    }
    // Blocks are handed over as int32.
    ensure!(i32::try_from(count).is_ok(), "{}: {count} regions are too many", path.display());
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
        compression: COMPRESSION,
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
        labels.resize(slices.len() * height * width, 0i32);
        regions.expand(slices.clone(), &mut labels, |label| label as i32);
        let block = ArrayView4::from_shape((1, slices.len(), height, width), &labels)?;
        file.write_block(volume, [0, z, 0], Block::I32(block))?;
    }
    Ok(Finished::Volume(file))
}

/// A text that may be long, written piece by piece. The file waits for its name.
///
/// # Errors
/// A folder that cannot be written, and a full disk.
pub fn lines(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<PartialFile> {
    let make = || -> io::Result<PartialFile> {
        let partial = PartialFile::create(path)?;
        let mut out = BufWriter::new(partial.file());
        write(&mut out)?;
        // Dropped, it would not tell of a full disk.
        out.flush()?;
        drop(out);
        Ok(partial)
    };
    make().with_context(|| format!("{}: writing failed", path.display()))
}

/// Whether a file has the form of those that `unet3d instances` writes, or ANTSUN in its
/// own folders, and tells nothing of its making by itself. Whether somebody has changed it
/// since, the form does not tell.
pub fn has_our_form(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    path.is_file()
        && match extension.as_str() {
            "nrrd" => nrrd_writer::is_labels(path),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::FORMATS;

    #[test]
    fn every_format_that_can_be_written_has_its_name() {
        for format in FORMATS.iter().filter(|format| format.create.is_some()) {
            let name = format.name.to_ascii_lowercase();
            assert!(LABEL_FORMATS.contains(&name.as_str()), "{name}");
            let file = LabelFile::named(&name, Path::new("a.h5"));
            assert_eq!(file.extension(), format.result_extension(COMPRESSION));
        }
        let extension = |name, path: &str| LabelFile::named(name, Path::new(path)).extension();
        assert_eq!(extension("input", "a.nii"), "nii.gz");
        assert_eq!(extension("input", "a.unknown"), "h5");
        assert_eq!(extension("h5", "a.tif"), "h5");
    }
}
