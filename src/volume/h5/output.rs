//! Writing volumes slab by slab into a file that appears only when it is whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use half::f16;
use hdf5::types::{FloatSize, IntSize, TypeDescriptor, VarLenUnicode};
use ndarray::ArrayView4;
use tempfile::TempPath;

use super::pool::{Job, Pool};

/// Bytes of chunks that wait to be compressed, at most.
const QUEUE: usize = 256 << 20;

/// Bytes of a chunk, about: many enough for all threads, and small enough for
/// the chunk cache (1 MiB) of the programs that read them.
const CHUNK: usize = 256 << 10;

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
}

impl Encoding {
    fn size(self) -> usize {
        match self {
            Encoding::Float32 => 4,
            Encoding::Float16 | Encoding::Uint16 => 2,
            Encoding::ScaledUint8 => 1,
        }
    }

    fn descriptor(self) -> TypeDescriptor {
        match self {
            Encoding::Float32 => TypeDescriptor::Float(FloatSize::U4),
            Encoding::Float16 => TypeDescriptor::Float(FloatSize::U2),
            Encoding::ScaledUint8 => TypeDescriptor::Unsigned(IntSize::U1),
            Encoding::Uint16 => TypeDescriptor::Unsigned(IntSize::U2),
        }
    }

    fn encode(self, values: impl Iterator<Item = f32>, out: &mut Vec<u8>) {
        match self {
            Encoding::Float32 => out.extend(values.flat_map(f32::to_le_bytes)),
            Encoding::Float16 => {
                out.extend(values.flat_map(|value| f16::from_f32(value).to_le_bytes()));
            }
            // `as` keeps what is too small or too large at the ends.
            Encoding::ScaledUint8 => {
                out.extend(values.map(|value| (f64::from(value) * 255.0).round() as u8))
            }
            Encoding::Uint16 => {
                out.extend(values.flat_map(|value| (value.round() as u16).to_le_bytes()));
            }
        }
    }
}

/// Names one of the volumes of an [`OutputFile`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeId(usize);

/// A file that is being written.
///
/// It grows under a hidden name that ends in `.partial` beside its target and is
/// renamed by [`OutputFile::finish`]; dropped before that, it disappears and
/// what stood under the target stays.
pub struct OutputFile {
    target: PathBuf,
    // Before the file and its path, which go when no chunk is under way.
    pool: Pool,
    volumes: Vec<OutputVolume>,
    hdf5: hdf5::File,
    partial: Partial,
}

struct OutputVolume {
    dataset: Arc<hdf5::Dataset>,
    name: String,
    has_channels: bool,
    /// (C, D, H, W)
    shape: [usize; 4],
    /// Depth, height and width of a chunk, which has one channel.
    chunk: [usize; 3],
    encoding: Encoding,
    compression: Compression,
    channels: Vec<Channel>,
}

/// Encoded planes that wait for their chunk to be full.
#[derive(Default)]
struct Channel {
    planes: Vec<u8>,
    /// The z of the next plane.
    next: usize,
}

impl OutputFile {
    /// Begins a file that will stand at `target`, with that many threads for
    /// compression.
    ///
    /// # Errors
    /// A directory that does not exist or cannot be written, a full disk.
    pub fn create(target: &Path, threads: usize) -> Result<OutputFile> {
        let target = std::path::absolute(target).unwrap_or_else(|_| target.to_path_buf());
        let name = target.file_name().context("a file name is wanted")?.to_string_lossy();
        let folder = target.parent().context("a file name is wanted")?;
        let prefix = format!(".{name}.");
        remove_leftovers(folder, &prefix);
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(".partial");
        // Readable by whom the umask lets, like any file, not by the owner alone.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let partial = builder.tempfile_in(folder).map_err(|error| {
            anyhow!("{}: no file can be written there: {}", target.display(), error)
        })?;
        let partial = Partial(Some(partial.into_temp_path()));
        let hdf5 = hdf5::File::with_options()
            .with_fapl(|plist| plist.file_locking(false))
            .create(partial.path())
            .map_err(|error| failure(&target, error.into()))?;
        Ok(OutputFile {
            target,
            pool: Pool::new(threads, QUEUE)?,
            volumes: Vec::new(),
            hdf5,
            partial,
        })
    }

    /// Adds a text attribute to the file.
    pub fn attribute(&self, name: &str, text: &str) -> Result<()> {
        let write = || -> Result<()> {
            let text = VarLenUnicode::from_str(text)
                .with_context(|| format!("the attribute `{name}` is no text that HDF5 can hold"))?;
            self.hdf5.new_attr::<VarLenUnicode>().create(name)?.write_scalar(&text)?;
            Ok(())
        };
        write().map_err(|error| failure(&self.target, error))
    }

    /// Adds a volume of shape (C, D, H, W), or (D, H, W) with one channel.
    ///
    /// # Panics
    /// If an axis is empty, or a volume (D, H, W) is to have several channels.
    pub fn volume(
        &mut self,
        name: &str,
        shape: [usize; 4],
        has_channels: bool,
        encoding: Encoding,
        compression: Compression,
    ) -> Result<VolumeId> {
        assert!(shape.iter().all(|&n| n > 0) && (has_channels || shape[0] == 1), "{shape:?}");
        let [_, d, h, w] = shape;
        let chunk = chunk([d, h, w], encoding.size());
        let axes = usize::from(!has_channels);
        let chunk_shape = &[1, chunk[0], chunk[1], chunk[2]][axes..];
        let mut builder = self
            .hdf5
            .new_dataset_builder()
            .chunk(chunk_shape)
            // Every chunk is written; filling them first would write them twice.
            .fill_time(hdf5::plist::dataset_create::FillTime::Never);
        if let Compression::Gzip { level } = compression {
            builder = builder.shuffle().deflate(level.min(9));
        }
        let dataset = builder
            .empty_as(encoding.descriptor())
            .shape(&shape[axes..])
            .create(name)
            .and_then(|dataset| {
                if encoding == Encoding::ScaledUint8 {
                    let factor = dataset.new_attr::<f64>().create("scale_factor")?;
                    factor.write_scalar(&(1.0 / 255.0))?;
                }
                Ok(dataset)
            })
            .map_err(|error| failure(&self.target, error.into()))?;
        self.volumes.push(OutputVolume {
            dataset: Arc::new(dataset),
            name: name.to_string(),
            has_channels,
            shape,
            chunk,
            encoding,
            compression,
            channels: (0..shape[0]).map(|_| Channel::default()).collect(),
        });
        Ok(VolumeId(self.volumes.len() - 1))
    }

    /// Writes planes of some channels: `slab` (C, D, H, W) begins at `channel`
    /// and goes on in z where the last slab of its channels ended.
    ///
    /// Compression and writing go on in the background; an error may belong to
    /// an earlier slab.
    ///
    /// # Panics
    /// If the slab has another height or width, or leaves the volume.
    pub fn write(&mut self, id: VolumeId, channel: usize, slab: ArrayView4<'_, f32>) -> Result<()> {
        let volume = &mut self.volumes[id.0];
        volume.write(channel, slab, &self.pool).map_err(|error| failure(&self.target, error))
    }

    /// Waits for the last chunk, brings the file to the disk and gives it its
    /// name, replacing what stood there.
    ///
    /// # Errors
    /// A volume of which planes are missing, and everything that went wrong in
    /// writing: then nothing is replaced.
    pub fn finish(self) -> Result<()> {
        let OutputFile { target, pool, volumes, hdf5, partial } = self;
        let close = || -> Result<()> {
            pool.drain()?;
            for volume in &volumes {
                let depth = volume.shape[1];
                ensure!(
                    volume.channels.iter().all(|channel| channel.next == depth),
                    "planes of `{}` were never written",
                    volume.name
                );
            }
            drop((pool, volumes));
            hdf5.flush()?;
            hdf5.close()?;
            partial.persist(&target)?;
            // The file is whole and has its name; that the name survives a loss of
            // power is more than some network file systems can promise.
            if let Some(folder) = target.parent() {
                let _ = File::open(folder).and_then(|folder| folder.sync_all());
            }
            Ok(())
        };
        close().map_err(|error| failure(&target, error))
    }

    /// Where the file will stand, absolute.
    pub fn target(&self) -> &Path {
        &self.target
    }
}

/// An unfinished file, removed when it is dropped.
struct Partial(Option<TempPath>);

impl Partial {
    fn path(&self) -> &Path {
        self.0.as_deref().expect("taken only at the end")
    }

    fn persist(mut self, target: &Path) -> Result<()> {
        File::options().write(true).open(self.path())?.sync_all()?;
        match self.0.take() {
            Some(path) => Ok(path.persist(target).map_err(|error| error.error)?),
            None => Ok(()),
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // HDF5 may keep a file open that it could not write to the end: give the
        // disk back what it holds.
        if let Some(path) = &self.0
            && let Ok(file) = File::options().write(true).open(path)
        {
            let _ = file.set_len(0);
        }
    }
}

impl OutputVolume {
    fn write(&mut self, first: usize, slab: ArrayView4<'_, f32>, pool: &Pool) -> Result<()> {
        let (channels, depth, h, w) = slab.dim();
        assert!(
            first + channels <= self.shape[0] && [h, w] == self.shape[2..],
            "a slab {:?} at channel {first} of {:?}",
            slab.dim(),
            self.shape
        );
        for (c, planes) in slab.outer_iter().enumerate() {
            assert!(self.channels[first + c].next + depth <= self.shape[1], "too many planes");
            for plane in planes.outer_iter() {
                let channel = &mut self.channels[first + c];
                match plane.as_slice() {
                    Some(values) => {
                        self.encoding.encode(values.iter().copied(), &mut channel.planes);
                    }
                    None => self.encoding.encode(plane.iter().copied(), &mut channel.planes),
                }
                channel.next += 1;
                if channel.next.is_multiple_of(self.chunk[0]) || channel.next == self.shape[1] {
                    self.send(first + c, pool)?;
                }
            }
        }
        Ok(())
    }

    /// Cuts the waiting planes of a channel into chunks.
    fn send(&mut self, channel: usize, pool: &Pool) -> Result<()> {
        let [_, _, h, w] = self.shape;
        let [depth, height, width] = self.chunk;
        let size = self.encoding.size();
        let Channel { planes, next } = &mut self.channels[channel];
        let mut planes = std::mem::take(planes);
        let z = (*next - 1) / depth * depth;
        // Chunks at the end of an axis are as large as the others.
        planes.resize(depth * h * w * size, 0);
        let job = |y: usize, x: usize, bytes: Vec<u8>| {
            let offset = [channel, z, y, x].map(|n| n as u64);
            Job {
                dataset: self.dataset.clone(),
                offset: offset[usize::from(!self.has_channels)..].to_vec(),
                bytes,
                element: size,
                compression: self.compression,
            }
        };
        if [height, width] == [h, w] {
            return pool.push(job(0, 0, planes));
        }
        for y in (0..h).step_by(height) {
            for x in (0..w).step_by(width) {
                let mut bytes = vec![0; depth * height * width * size];
                let row = width.min(w - x) * size;
                for d in 0..depth {
                    for r in 0..height.min(h - y) {
                        let from = ((d * h + y + r) * w + x) * size;
                        let to = (d * height + r) * width * size;
                        bytes[to..to + row].copy_from_slice(&planes[from..from + row]);
                    }
                }
                pool.push(job(y, x, bytes))?;
            }
        }
        Ok(())
    }
}

/// Removes what runs that were killed left of the same output.
fn remove_leftovers(folder: &Path, prefix: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(prefix) && name.ends_with(".partial") {
            // If it cannot be removed it is no more in the way than before.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Depth, height and width of chunks of about [`CHUNK`] bytes: whole planes if
/// they are small enough, else whole rows, else pieces of rows.
fn chunk([d, h, w]: [usize; 3], size: usize) -> [usize; 3] {
    let voxels = CHUNK / size;
    if h * w <= voxels {
        [(voxels / (h * w)).min(d), h, w]
    } else if w <= voxels {
        // Rows in even shares, so that the last chunk is not a sliver.
        let parts = (h * w).div_ceil(voxels);
        [1, h.div_ceil(parts), w]
    } else {
        [1, 1, voxels]
    }
}

/// There is no room for the file; none of it was kept.
#[derive(Debug, thiserror::Error)]
#[error("{}: the disk is full; nothing was kept of this file", .0.display())]
pub struct DiskFull(PathBuf);

fn failure(target: &Path, error: anyhow::Error) -> anyhow::Error {
    let text = format!("{error:#}");
    if text.contains("No space left") || text.contains("quota") {
        DiskFull(target.to_path_buf()).into()
    } else {
        anyhow!("{}: writing failed: {text}", target.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_planes_or_parts_of_planes() {
        assert_eq!(chunk([64, 120, 284], 4), [1, 120, 284]);
        assert_eq!(chunk([64, 96, 210], 4), [3, 96, 210]);
        assert_eq!(chunk([2, 96, 210], 4), [2, 96, 210]);
        assert_eq!(chunk([9, 2048, 2048], 4), [1, 32, 2048]);
        assert_eq!(chunk([9, 300, 300], 4), [1, 150, 300]);
        assert_eq!(chunk([1, 2, 1 << 20], 4), [1, 1, 1 << 16]);
    }

    #[test]
    fn encodings() {
        let encoded = |encoding: Encoding, values: &[f32]| {
            let mut out = Vec::new();
            encoding.encode(values.iter().copied(), &mut out);
            out
        };
        let scaled = encoded(Encoding::ScaledUint8, &[0.0, 1.0, 0.5, -0.1, 1.2, f32::NAN]);
        assert_eq!(scaled, [0, 255, 128, 0, 255, 0]);
        assert_eq!(encoded(Encoding::Uint16, &[0.0, 1.0, 65_535.0]), [0, 0, 1, 0, 255, 255]);
        assert_eq!(encoded(Encoding::Float16, &[1.0, -2.0]), [0, 0x3c, 0, 0xc0]);
        assert_eq!(encoded(Encoding::Float32, &[1.0]), [0, 0, 0x80, 0x3f]);
    }
}
