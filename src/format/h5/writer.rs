//! Writing volumes piece by piece into a file that appears only when it is whole.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, ensure};
use hdf5::types::{FloatSize, IntSize, TypeDescriptor, VarLenUnicode};
use ndarray::{ArrayView4, s};

use super::checksum::Checksum;
use super::chunk_rows::ChunkRows;
use super::file::{ensure_text, system_error};
use super::pool::Pool;
use super::{CHANNELS, CHECKSUM, DIRECTIONS, ELEMENT_SIZE, ORIGIN, SCALE};
use crate::files::PartialFile;
use crate::format::encode::{Number, encode};
use crate::volume::{
    Block, Calibration, Compression, DiskFull, Encoding, LengthUnit, NewVolume, StoredType,
    VolumeId, VolumeWriter,
};
use crate::with_block;

/// Bytes of chunks that wait to be compressed, at most.
const QUEUE: usize = 256 << 20;

/// Bytes of a chunk, about: many enough for all threads, and small enough for
/// the chunk cache (1 MiB) of the programs that read them.
const CHUNK: usize = 256 << 10;

/// The type of number of a data set.
fn descriptor(encoding: Encoding) -> TypeDescriptor {
    let size = |size| match size {
        1 => IntSize::U1,
        2 => IntSize::U2,
        4 => IntSize::U4,
        _ => IntSize::U8,
    };
    let stored = encoding.stored();
    match stored {
        StoredType::U8 | StoredType::U16 | StoredType::U32 | StoredType::U64 => {
            TypeDescriptor::Unsigned(size(stored.size()))
        }
        StoredType::I8 | StoredType::I16 | StoredType::I32 | StoredType::I64 => {
            TypeDescriptor::Integer(size(stored.size()))
        }
        StoredType::F16 => TypeDescriptor::Float(FloatSize::U2),
        StoredType::F32 => TypeDescriptor::Float(FloatSize::U4),
        StoredType::F64 => TypeDescriptor::Float(FloatSize::U8),
    }
}

/// An HDF5 file that is being written.
pub struct H5Writer {
    // Before the file and its path, which go when no chunk is under way.
    pool: Pool,
    volumes: Vec<OutputVolume>,
    checksum: Checksum,
    /// Absolute path that the file will have.
    target: PathBuf,
    hdf5: hdf5::File,
    partial: PartialFile,
}

struct OutputVolume {
    name: String,
    /// (C, D, H, W)
    shape: [usize; 4],
    encoding: Encoding,
    storage: WriteMethod,
    /// Rows along x that were not written yet.
    rows_left: usize,
}

/// How voxels get to the file.
enum WriteMethod {
    /// In one piece from this byte of the file on, as soon as they come.
    Contiguous {
        offset: u64,
    },
    Chunked(ChunkRows),
}

impl H5Writer {
    /// Begins a file that will stand at `target`, with that many threads for
    /// compression.
    ///
    /// # Errors
    /// A directory that does not exist or cannot be written, a path that is no UTF-8 text, a
    /// full disk.
    pub fn create(target: &Path, threads: usize) -> Result<H5Writer> {
        let target = std::path::absolute(target).unwrap_or_else(|_| target.to_path_buf());
        ensure_text(&target)?;
        let mut partial = PartialFile::create(&target).map_err(|error| {
            anyhow!("{}: no file can be written there: {}", target.display(), error)
        })?;
        let hdf5 = create_again(&mut partial).map_err(|error| failure(&target, error))?;
        Ok(H5Writer {
            pool: Pool::new(threads, QUEUE)?,
            volumes: Vec::new(),
            checksum: Checksum::default(),
            target,
            hdf5,
            partial,
        })
    }
}

impl VolumeWriter for H5Writer {
    fn target(&self) -> &Path {
        &self.target
    }

    fn attribute(&mut self, name: &str, text: &str) -> Result<()> {
        let write = || -> Result<()> {
            let text = VarLenUnicode::from_str(text)
                .with_context(|| format!("the attribute `{name}` is no text that HDF5 can hold"))?;
            self.hdf5.new_attr::<VarLenUnicode>().create(name)?.write_scalar(&text)?;
            Ok(())
        };
        write().map_err(|error| failure(&self.target, error))
    }

    fn numbers(&mut self, name: &str, values: &[f64]) -> Result<()> {
        let write = || -> Result<()> {
            match values {
                [value] => self.hdf5.new_attr::<f64>().create(name)?.write_scalar(value)?,
                values => {
                    self.hdf5.new_attr_builder().with_data(values).create(name)?;
                }
            }
            Ok(())
        };
        write().map_err(|error| failure(&self.target, error))
    }

    fn begin(&mut self, volume: &NewVolume<'_>) -> Result<VolumeId> {
        let NewVolume { name, shape, has_channels, encoding, compression, .. } = *volume;
        assert!(shape.iter().all(|&n| n > 0) && (has_channels || shape[0] == 1), "{shape:?}");
        let [channels, d, h, w] = shape;
        let axes = usize::from(!has_channels);
        let begin = || -> Result<OutputVolume> {
            let mut builder = self
                .hdf5
                .new_dataset_builder()
                // Every voxel is written; filling them first would write them twice.
                .fill_time(hdf5::plist::dataset_create::FillTime::Never);
            let chunk = chunk([d, h, w], encoding.size());
            builder = match compression {
                // At once, so that there is a place to write to.
                Compression::None => {
                    builder.alloc_time(Some(hdf5::plist::dataset_create::AllocTime::Early))
                }
                Compression::Gzip { level } => {
                    let chunk = &[1, chunk[0], chunk[1], chunk[2]][axes..];
                    builder.chunk(chunk).shuffle().deflate(level.min(9))
                }
            };
            let dataset =
                builder.empty_as(descriptor(encoding)).shape(&shape[axes..]).create(name)?;
            if encoding == Encoding::ScaledUint8 {
                let factor = dataset.new_attr::<f64>().create(SCALE)?;
                factor.write_scalar(&(1.0 / 255.0))?;
            }
            let storage = match compression {
                Compression::None => {
                    WriteMethod::Contiguous { offset: dataset.offset().context("it has no place")? }
                }
                Compression::Gzip { level } => {
                    let size = encoding.size();
                    let sum = self.checksum.clone();
                    let rows = ChunkRows::new(dataset, sum, volume, chunk, size, level);
                    WriteMethod::Chunked(rows)
                }
            };
            Ok(OutputVolume {
                name: name.to_string(),
                shape,
                encoding,
                storage,
                rows_left: channels * d * h,
            })
        };
        self.volumes.push(begin().map_err(|error| failure(&self.target, error))?);
        Ok(VolumeId(self.volumes.len() - 1))
    }

    fn calibrate(&mut self, id: VolumeId, calibration: &Calibration) -> Result<()> {
        // The attributes are in micrometres; numbers without a unit count as such.
        let calibration = calibration.in_unit(LengthUnit::Micrometre);
        let write = || -> Result<()> {
            let dataset = self.hdf5.dataset(&self.volumes[id.0].name)?;
            let numbers = |name: &str, numbers: &[f64]| -> Result<()> {
                dataset.new_attr_builder().with_data(numbers).create(name)?;
                Ok(())
            };
            if let Some(spacing) = calibration.spacing {
                numbers(ELEMENT_SIZE, &spacing)?;
            }
            if let Some(origin) = calibration.origin {
                numbers(ORIGIN, &origin)?;
            }
            if let Some(directions) = calibration.directions {
                numbers(DIRECTIONS, directions.as_flattened())?;
            }
            if !calibration.channels.is_empty() {
                let names = VarLenUnicode::from_str(&calibration.channels.join("\n"))?;
                dataset.new_attr::<VarLenUnicode>().create(CHANNELS)?.write_scalar(&names)?;
            }
            Ok(())
        };
        write().map_err(|error| failure(&self.target, error))
    }

    fn write_block(&mut self, id: VolumeId, corner: [usize; 3], block: Block<'_>) -> Result<()> {
        let (pool, file) = (&self.pool, self.partial.file());
        let (volume, checksum) = (&mut self.volumes[id.0], &self.checksum);
        with_block!(block, view => volume.write(corner, view, pool, file, checksum))
            .map_err(|error| failure(&self.target, error))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.finish_if(&|_| Ok(()))
    }

    fn finish_if(mut self: Box<Self>, may_replace: &dyn Fn(&Path) -> Result<()>) -> Result<()> {
        self.pool.drain().map_err(|error| failure(&self.target, error))?;
        let checksum = self.checksum.text();
        self.attribute(CHECKSUM, &checksum)?;
        let H5Writer { pool, volumes, target, hdf5, partial, .. } = *self;
        let close = || -> Result<()> {
            for volume in &volumes {
                ensure!(volume.rows_left == 0, "parts of `{}` were never written", volume.name);
            }
            drop((pool, volumes));
            hdf5.flush()?;
            hdf5.close()?;
            Ok(())
        };
        close().map_err(|error| failure(&target, error))?;
        partial.replace_if(may_replace)?.map_err(|error| failure(&target, error.into()))
    }
}

impl OutputVolume {
    fn write<T: Number>(
        &mut self,
        [first, z, y]: [usize; 3],
        block: ArrayView4<'_, T>,
        pool: &Pool,
        file: &File,
        checksum: &Checksum,
    ) -> Result<()> {
        let (channels, depth, height, w) = block.dim();
        let [all_channels, d, h, _] = self.shape;
        assert!(
            first + channels <= all_channels
                && z + depth <= d
                && y + height <= h
                && w == self.shape[3],
            "a box {:?} at {:?} of {:?}",
            block.dim(),
            [first, z, y],
            self.shape
        );
        let rows = channels * depth * height;
        self.rows_left = self.rows_left.checked_sub(rows).expect("no row is written twice");
        for (c, planes) in block.outer_iter().enumerate() {
            for (dz, plane) in planes.outer_iter().enumerate() {
                let place = [first + c, z + dz, y];
                match &mut self.storage {
                    WriteMethod::Contiguous { offset } => {
                        let row = (place[0] * d + place[1]) * h + y;
                        let size = self.encoding.size();
                        let mut bytes = vec![0; height * w * size];
                        encode(self.encoding, plane, &mut bytes);
                        file.write_all_at(&bytes, *offset + (row * w * size) as u64)?;
                        checksum.add_rows(&self.name, row as u64, w * size, &bytes);
                    }
                    WriteMethod::Chunked(rows) => {
                        let encoding = self.encoding;
                        rows.add(place, height, pool, |rows, bytes| {
                            encode(encoding, plane.slice(s![rows, ..]), bytes);
                        })?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Opens an unfinished file by the library, which takes it for its own.
pub(super) fn create_again(partial: &mut PartialFile) -> Result<hdf5::File> {
    let create = |path: &Path| {
        hdf5::File::with_options().with_fapl(|plist| plist.file_locking(false)).create(path)
    };
    Ok(partial.open_again(create)??)
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

pub(super) fn failure(target: &Path, error: anyhow::Error) -> anyhow::Error {
    let text = format!("{error:#}");
    if text.contains("No space left") || text.contains("quota") {
        DiskFull(target.to_path_buf()).into()
    } else if text.contains("File exists") {
        anyhow!("{}: exists and is not replaced", target.display())
    } else {
        let cause = system_error(&text).unwrap_or(&text);
        anyhow!("{}: writing failed: {cause}", target.display())
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
}
