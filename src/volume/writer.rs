//! Writing volumes piece by piece.

use std::path::{Path, PathBuf};

use anyhow::Result;
use ndarray::ArrayView4;

/// How a volume is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    /// Shuffle and deflate, as h5py's `compression="gzip", shuffle=True`. Level
    /// 0 to 12; above 9 libdeflate tries harder than zlib can, for any reader.
    Gzip {
        level: u8,
    },
}

/// What a voxel is stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Float32,
    Float16,
    /// Values 0 to 1 as 0 to 255, rounded; the attribute `scale_factor` (1/255)
    /// leads back.
    ScaledUint8,
    /// Labels, which are whole numbers from 0 to 65,535.
    Uint16,
    /// Labels up to 2²⁴, which is as far as float32 tells whole numbers apart.
    Uint32,
    /// As [`Encoding::Uint32`], with negative labels.
    Int32,
}

/// A volume that is to be written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewVolume<'a> {
    pub name: &'a str,
    /// (C, D, H, W)
    pub shape: [usize; 4],
    /// Whether the file is to have the channel axis; one of a single channel may do
    /// without.
    pub has_channels: bool,
    pub encoding: Encoding,
    pub compression: Compression,
}

/// One of the volumes of a [`VolumeWriter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeId(pub(crate) usize);

/// A file that is being written. It gets its name from [`VolumeWriter::finish`];
/// dropped before that, it disappears and what stood under the name stays.
pub trait VolumeWriter: Send {
    /// Absolute path that the file will have.
    fn target(&self) -> &Path;

    /// Adds a text attribute to the file.
    fn attribute(&mut self, name: &str, text: &str) -> Result<()>;

    /// Adds an attribute of numbers to the file: one number, or an array of them. A
    /// format without such attributes has them as text.
    fn numbers(&mut self, name: &str, values: &[f64]) -> Result<()> {
        let texts: Vec<String> = values.iter().map(f64::to_string).collect();
        self.attribute(name, &texts.join(" "))
    }

    /// Begins a volume.
    ///
    /// # Panics
    /// If an axis is empty, or a volume (D, H, W) is to have several channels.
    fn begin(&mut self, volume: &NewVolume<'_>) -> Result<VolumeId>;

    /// Notes the size of a voxel along z, y and x in micrometres with a volume.
    fn voxel_size(&mut self, id: VolumeId, size: [f64; 3]) -> Result<()>;

    /// Writes a box of a volume: `block` (C, D, H, W), all voxels along x, whose
    /// first voxel is at `corner` (channel, z, y). Boxes may come in any order, and
    /// each voxel once.
    ///
    /// Compression and writing may go on in the background; an error may belong to
    /// an earlier box.
    ///
    /// # Panics
    /// If the block has another width, leaves the volume, or was written before.
    fn write(&mut self, id: VolumeId, corner: [usize; 3], block: ArrayView4<'_, f32>)
    -> Result<()>;

    /// Writes what is left, brings the file to the disk and gives it its name,
    /// replacing what stood there.
    ///
    /// # Errors
    /// A volume of which voxels are missing, and everything that went wrong in
    /// writing: then nothing is replaced. [`DiskFull`] if there was no room.
    fn finish(self: Box<Self>) -> Result<()>;

    /// As [`VolumeWriter::finish`], but asks `may_replace` before it replaces a file, which
    /// may have got the name since the writing began.
    ///
    /// # Errors
    /// Also that of `may_replace`.
    fn finish_if(self: Box<Self>, may_replace: &dyn Fn(&Path) -> Result<()>) -> Result<()> {
        if self.target().symlink_metadata().is_ok() {
            may_replace(self.target())?;
        }
        self.finish()
    }
}

/// There is no room for the file; none of it was kept.
#[derive(Debug, thiserror::Error)]
#[error("{}: the disk is full; nothing was kept of this file", .0.display())]
pub struct DiskFull(pub PathBuf);
