//! Writing volumes piece by piece.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Result;
use ndarray::ArrayView4;

use super::{Calibration, StoredType, Values, Window};

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

/// The version of its format that a volume is written in, where the format has several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edition {
    #[default]
    Newest,
    /// The one before, for programs that do not read the newest one.
    Previous,
}

/// What a voxel is stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The value itself, rounded and cut off where the type is one of integers.
    Number(StoredType),
    /// Values 0 to 1 as 0 to 255, rounded; `scale_factor` (1/255) leads back.
    ScaledUint8,
}

impl Encoding {
    /// The type of number in the file.
    pub fn stored(self) -> StoredType {
        match self {
            Encoding::Number(stored) => stored,
            Encoding::ScaledUint8 => StoredType::U8,
        }
    }

    /// Bytes of a voxel in the file.
    pub fn size(self) -> usize {
        self.stored().size()
    }
}

/// Voxels (C, D, H, W) on their way to a file.
#[derive(Clone, Copy, Debug)]
pub enum Block<'a> {
    U8(ArrayView4<'a, u8>),
    U16(ArrayView4<'a, u16>),
    I32(ArrayView4<'a, i32>),
    I64(ArrayView4<'a, i64>),
    F32(ArrayView4<'a, f32>),
    F64(ArrayView4<'a, f64>),
}

impl<'a> From<ArrayView4<'a, f32>> for Block<'a> {
    fn from(view: ArrayView4<'a, f32>) -> Self {
        Block::F32(view)
    }
}

impl<'a> From<&'a Values> for Block<'a> {
    fn from(values: &'a Values) -> Self {
        match values {
            Values::U8(array) => Block::U8(array.view()),
            Values::U16(array) => Block::U16(array.view()),
            Values::I32(array) => Block::I32(array.view()),
            Values::I64(array) => Block::I64(array.view()),
            Values::F32(array) => Block::F32(array.view()),
            Values::F64(array) => Block::F64(array.view()),
        }
    }
}

/// Runs the same expression on the array view inside a [`Block`], whatever its type.
#[macro_export]
macro_rules! with_block {
    ($block:expr, $view:ident => $body:expr) => {
        match $block {
            $crate::volume::Block::U8($view) => $body,
            $crate::volume::Block::U16($view) => $body,
            $crate::volume::Block::I32($view) => $body,
            $crate::volume::Block::I64($view) => $body,
            $crate::volume::Block::F32($view) => $body,
            $crate::volume::Block::F64($view) => $body,
        }
    };
}

impl Block<'_> {
    /// (C, D, H, W)
    pub fn dim(&self) -> (usize, usize, usize, usize) {
        with_block!(self, view => view.dim())
    }
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
    pub edition: Edition,
    /// Whether the numbers are names, of which there is no average.
    pub labels: bool,
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

    /// Notes with a volume where its voxels lie in space, and what its channels are
    /// called.
    fn calibrate(&mut self, id: VolumeId, calibration: &Calibration) -> Result<()>;

    /// Writes a box of a volume: `block` (C, D, H, W), all voxels along x, whose
    /// first voxel is at `corner` (channel, z, y). Boxes may come in any order, and
    /// each voxel once.
    ///
    /// Compression and writing may go on in the background; an error may belong to
    /// an earlier box.
    ///
    /// # Panics
    /// If the block has another width, leaves the volume, or was written before.
    fn write_block(&mut self, id: VolumeId, corner: [usize; 3], block: Block<'_>) -> Result<()>;

    /// As [`VolumeWriter::write_block`], of float32 numbers.
    fn write(
        &mut self,
        id: VolumeId,
        corner: [usize; 3],
        block: ArrayView4<'_, f32>,
    ) -> Result<()> {
        self.write_block(id, corner, Block::F32(block))
    }

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

/// A file of one volume that is written block by block, each of which stands in the file
/// apart from the others. Threads may write blocks at the same time.
pub trait BlockWriter: Send + Sync {
    /// Number of blocks.
    fn blocks(&self) -> usize;

    /// Channels and box of a block.
    fn block(&self, number: usize) -> (Range<usize>, Window);

    /// Bytes of a block in memory, at most.
    fn block_bytes(&self) -> usize;

    /// Writes a block (C, D, H, W) with that many threads.
    fn write(&self, number: usize, block: Block<'_>, threads: usize) -> Result<()>;

    /// Completes the file, with these attributes, and gives it its name, as
    /// [`VolumeWriter::finish_if`] does.
    ///
    /// # Errors
    /// Also that of `may_replace`.
    fn finish(
        self: Box<Self>,
        texts: &[(String, String)],
        threads: usize,
        may_replace: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<()>;
}

/// What processes that write a file together agree upon.
#[derive(Clone, Copy, Debug)]
pub struct SharedSpec<'a> {
    /// What the file is made of and how, which must be the same for all of them.
    pub identity: &'a str,
    /// Settings of which those of the first process count.
    pub settings: &'a str,
    /// Bytes of the float32 numbers of a block, about: those of the first process count.
    pub block_bytes: usize,
}

/// A file of volumes of one size that several processes write together, block by block.
pub trait SharedWriter: Send + Sync {
    /// The settings that the first process noted, which the others keep.
    fn settings(&self) -> &str;

    /// Number of blocks.
    fn blocks(&self) -> usize;

    /// The box of a block, which has all channels.
    fn block(&self, number: usize) -> Window;

    /// Whether a block was written, by whatever process.
    fn is_done(&self, number: usize) -> bool;

    /// Writes a block of every volume, in their order.
    fn write(&self, number: usize, volumes: &[Block<'_>], threads: usize) -> Result<()>;

    /// What one process computes for all of them; the others wait for it.
    fn kept(&self, name: &str, compute: &dyn Fn() -> Result<String>) -> Result<String>;

    /// Ends this process's part of the work. If all blocks are done and no other process is
    /// at work, the file is completed, with these attributes, and gets its name.
    ///
    /// # Errors
    /// Also that of `may_replace`.
    fn leave(
        &self,
        texts: &[(String, String)],
        threads: usize,
        may_replace: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<SharedEnd>;
}

/// What became of a file that several processes write, as one of them leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedEnd {
    /// It is complete and has its name.
    Complete,
    /// So many blocks are not written yet.
    Left(usize),
    /// Other processes are at work, and the last of them completes it.
    Others,
}

/// There is no room for the file; none of it was kept.
#[derive(Debug, thiserror::Error)]
#[error("{}: the disk is full; nothing was kept of this file", .0.display())]
pub struct DiskFull(pub PathBuf);
