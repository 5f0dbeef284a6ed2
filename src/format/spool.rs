//! Volumes that are gathered uncompressed in a file without a name before they are
//! written as their format wants them: in one sequence, with what is only known at the
//! end in front.
//!
//! So boxes may come in any order, memory holds a few pieces, and a file that is stopped
//! half-way leaves nothing behind.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use ndarray::ArrayView4;

use super::encode::{Number, encode};
use crate::volume::{
    Block, Calibration, Compression, DiskFull, Edition, Encoding, NewVolume, VolumeId, VolumeWriter,
};
use crate::with_block;

/// Bytes of a piece that is read, compressed and written at once, about.
const PIECE: usize = 1 << 20;

/// Asked before a file is replaced.
pub(super) type MayReplace<'a> = &'a dyn Fn(&Path) -> Result<()>;

/// Writes what was gathered under its name.
pub(super) type Finish = fn(&Spooled, MayReplace<'_>) -> Result<()>;

/// All volumes of a file with what is said of them.
pub(super) struct Spooled {
    /// Absolute path that the file will have.
    pub target: PathBuf,
    /// Names and texts of the attributes, in the order in which they came.
    pub attributes: Vec<(String, String)>,
    pub volumes: Vec<SpooledVolume>,
    pub threads: usize,
}

pub(super) struct SpooledVolume {
    pub name: String,
    /// (C, D, H, W)
    pub shape: [usize; 4],
    pub has_channels: bool,
    pub encoding: Encoding,
    pub compression: Compression,
    pub edition: Edition,
    pub labels: bool,
    pub calibration: Calibration,
    /// Little-endian numbers in C order.
    file: File,
    voxels_left: usize,
}

/// How the channels of a voxel stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChannelOrder {
    /// Whole channels one after the other.
    Apart,
    /// Side by side.
    Together,
}

/// Rows of a volume that make up a piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub first: usize,
    pub count: usize,
}

impl SpooledVolume {
    fn begin(volume: &NewVolume<'_>, folder: &Path) -> Result<SpooledVolume> {
        let NewVolume { name, shape, has_channels, encoding, compression, edition, labels } =
            *volume;
        assert!(shape.iter().all(|&n| n > 0) && (has_channels || shape[0] == 1), "{shape:?}");
        let voxels = shape.iter().try_fold(1usize, |all, &n| all.checked_mul(n));
        let voxels = voxels.context("it is larger than any volume")?;
        Ok(SpooledVolume {
            name: name.to_owned(),
            shape,
            has_channels,
            encoding,
            compression,
            edition,
            labels,
            calibration: Calibration::default(),
            file: tempfile::tempfile_in(folder)?,
            voxels_left: voxels,
        })
    }

    /// Writes a box whose first voxel is at `corner` (c, z, y, x).
    pub fn write(&mut self, corner: [usize; 4], block: Block<'_>) -> Result<()> {
        with_block!(block, view => self.write_view(corner, view))
    }

    fn write_view<T: Number>(
        &mut self,
        corner: [usize; 4],
        block: ArrayView4<'_, T>,
    ) -> Result<()> {
        let (channels, d, h, w) = block.dim();
        let box_size = [channels, d, h, w];
        assert!(
            (0..4).all(|axis| corner[axis] + box_size[axis] <= self.shape[axis]),
            "a box {box_size:?} at {corner:?} of {:?}",
            self.shape
        );
        self.voxels_left =
            self.voxels_left.checked_sub(block.len()).expect("no voxel is written twice");
        let [_, depth, height, width] = self.shape;
        let size = self.encoding.size();
        let mut bytes = vec![0; h * w * size];
        for (c, planes) in block.outer_iter().enumerate() {
            for (z, plane) in planes.outer_iter().enumerate() {
                encode(self.encoding, plane, &mut bytes);
                let row = |y: usize| {
                    let row = ((corner[0] + c) * depth + corner[1] + z) * height + corner[2] + y;
                    ((row * width + corner[3]) * size) as u64
                };
                if w == width {
                    self.file.write_all_at(&bytes, row(0))?;
                    continue;
                }
                for (y, line) in bytes.chunks_exact(w * size).enumerate() {
                    self.file.write_all_at(line, row(y))?;
                }
            }
        }
        Ok(())
    }

    /// Bytes of all voxels.
    pub fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.encoding.size()
    }

    /// Rows along x of one channel, counted over y and z.
    pub fn rows(&self) -> usize {
        self.shape[1] * self.shape[2]
    }

    /// The pieces of a file with channels in that order. Channels apart are further rows.
    pub fn pieces(&self, order: ChannelOrder) -> Vec<Rows> {
        let row = self.shape[3] * self.encoding.size();
        let (rows, row) = match order {
            ChannelOrder::Apart => (self.shape[0] * self.rows(), row),
            ChannelOrder::Together => (self.rows(), row * self.shape[0]),
        };
        let step = (PIECE / row).max(1);
        let piece = |first: usize| Rows { first, count: step.min(rows - first) };
        (0..rows).step_by(step).map(piece).collect()
    }

    /// The bytes of a piece.
    pub fn read(&self, rows: Rows, order: ChannelOrder) -> Result<Vec<u8>> {
        let size = self.encoding.size();
        let row = self.shape[3] * size;
        let read = |first: usize| -> Result<Vec<u8>> {
            let mut bytes = vec![0; rows.count * row];
            self.file.read_exact_at(&mut bytes, (first * row) as u64)?;
            Ok(bytes)
        };
        let channels = self.shape[0];
        if order == ChannelOrder::Apart || channels == 1 {
            return read(rows.first);
        }
        let mut together = vec![0; channels * rows.count * row];
        for channel in 0..channels {
            let apart = read(channel * self.rows() + rows.first)?;
            let places = together.chunks_exact_mut(channels * size);
            for (voxel, number) in places.zip(apart.chunks_exact(size)) {
                voxel[channel * size..][..size].copy_from_slice(number);
            }
        }
        Ok(together)
    }

    /// Reads a box (c, z, y, x), row after row.
    pub fn read_box(&self, corner: [usize; 4], lengths: [usize; 4]) -> Result<Vec<u8>> {
        let size = self.encoding.size();
        let [_, d, h, w] = self.shape;
        let row = lengths[3] * size;
        let mut bytes = vec![0; lengths.iter().product::<usize>() * size];
        for (number, line) in bytes.chunks_exact_mut(row).enumerate() {
            let (y, rest) = (number % lengths[2], number / lengths[2]);
            let (z, c) = (rest % lengths[1], rest / lengths[1]);
            let at = (((corner[0] + c) * d + corner[1] + z) * h + corner[2] + y) * w + corner[3];
            self.file.read_exact_at(line, (at * size) as u64)?;
        }
        Ok(bytes)
    }
}

impl Spooled {
    /// The one volume of a format that holds one.
    pub fn volume(&self) -> Result<&SpooledVolume> {
        match &self.volumes[..] {
            [volume] => Ok(volume),
            volumes => bail!("{} volumes for a format that holds one", volumes.len()),
        }
    }

    /// All attributes and what leads from bytes to probabilities.
    pub fn texts(&self) -> Vec<(String, String)> {
        let mut texts = self.attributes.clone();
        for volume in &self.volumes {
            if volume.encoding == Encoding::ScaledUint8 {
                texts.push((super::SCALE.to_owned(), (1.0f64 / 255.0).to_string()));
                break;
            }
        }
        texts
    }
}

/// A file whose volumes are gathered.
pub(super) struct SpoolWriter {
    spooled: Spooled,
    /// How many volumes the format holds.
    most: usize,
    finish: Finish,
}

impl SpoolWriter {
    /// Begins a file that will stand at `target`.
    ///
    /// # Errors
    /// A directory that does not exist or cannot be written.
    pub fn create(
        target: &Path,
        threads: usize,
        most: usize,
        finish: Finish,
    ) -> Result<Box<dyn VolumeWriter>> {
        let target = std::path::absolute(target).unwrap_or_else(|_| target.to_path_buf());
        // Found now, not when all voxels are there.
        let folder = folder(&target);
        tempfile::tempfile_in(folder).map_err(|error| {
            anyhow!("{}: no file can be written there: {error}", target.display())
        })?;
        let spooled = Spooled { target, attributes: Vec::new(), volumes: Vec::new(), threads };
        Ok(Box::new(SpoolWriter { spooled, most, finish }))
    }
}

impl VolumeWriter for SpoolWriter {
    fn target(&self) -> &Path {
        &self.spooled.target
    }

    fn attribute(&mut self, name: &str, text: &str) -> Result<()> {
        self.spooled.attributes.push((name.to_owned(), text.to_owned()));
        Ok(())
    }

    fn begin(&mut self, volume: &NewVolume<'_>) -> Result<VolumeId> {
        let target = &self.spooled.target;
        ensure!(
            self.spooled.volumes.len() < self.most,
            "{}: the format holds one volume a file",
            target.display()
        );
        let begun = SpooledVolume::begin(volume, folder(target));
        self.spooled.volumes.push(begun.map_err(|error| failure(target, error))?);
        Ok(VolumeId(self.spooled.volumes.len() - 1))
    }

    fn calibrate(&mut self, id: VolumeId, calibration: &Calibration) -> Result<()> {
        self.spooled.volumes[id.0].calibration = calibration.clone();
        Ok(())
    }

    fn write_block(&mut self, id: VolumeId, [c, z, y]: [usize; 3], block: Block<'_>) -> Result<()> {
        let volume = &mut self.spooled.volumes[id.0];
        assert_eq!(block.dim().3, volume.shape[3], "boxes have all voxels along x");
        volume.write([c, z, y, 0], block).map_err(|error| failure(&self.spooled.target, error))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.finish_if(&|_| Ok(()))
    }

    fn finish_if(self: Box<Self>, may_replace: MayReplace<'_>) -> Result<()> {
        let SpoolWriter { spooled, finish, .. } = *self;
        for volume in &spooled.volumes {
            ensure!(
                volume.voxels_left == 0,
                "{}: parts of `{}` were never written",
                spooled.target.display(),
                volume.name
            );
        }
        finish(&spooled, may_replace)
    }
}

pub(super) fn folder(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The error of a file that could not be written.
pub(super) fn failure(target: &Path, error: anyhow::Error) -> anyhow::Error {
    let full = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
        })
    };
    if error.chain().any(full) {
        DiskFull(target.to_path_buf()).into()
    } else {
        error.context(format!("{}: writing failed", target.display()))
    }
}
