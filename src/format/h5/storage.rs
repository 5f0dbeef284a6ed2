//! Where the bytes of a data set lie in its file.

use anyhow::{Context, Result, ensure};
use hdf5::dataset::Layout;
use hdf5::filters::Filter;

use crate::format::stored::StoredType;

/// How to get at the voxels of a data set. Shapes are (C, D, H, W).
#[derive(Debug)]
pub(super) enum VoxelStorage {
    /// All voxels in C order, from this byte of the file on.
    Contiguous {
        offset: u64,
    },
    Chunked(Chunks),
    /// Only through the HDF5 library.
    Library,
}

/// The chunks of a data set, all of them present.
#[derive(Debug)]
pub(super) struct Chunks {
    /// Voxels of a chunk along each axis.
    pub shape: [usize; 4],
    /// Chunks along each axis; the last ones may reach out of the volume.
    grid: [usize; 4],
    chunks: Vec<Chunk>,
    /// In the order in which they were applied when writing.
    pub filters: Vec<StoredFilter>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chunk {
    pub address: u64,
    /// Bytes in the file.
    pub size: u64,
    /// Bit i set: the i-th filter was left out for this chunk.
    pub filter_mask: u32,
}

/// A filter that is undone without the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoredFilter {
    Shuffle,
    Deflate,
}

impl Chunks {
    /// The chunk that holds this voxel.
    pub fn at(&self, voxel: [usize; 4]) -> Chunk {
        self.chunks[number(voxel, &self.shape, &self.grid)]
    }

    pub fn voxels(&self) -> usize {
        self.shape.iter().product()
    }
}

fn number(voxel: [usize; 4], shape: &[usize; 4], grid: &[usize; 4]) -> usize {
    (0..4).fold(0, |number, axis| number * grid[axis] + voxel[axis] / shape[axis])
}

/// A shape of rank 3 or 4 as (C, D, H, W).
pub(super) fn with_channels(shape: &[usize]) -> Option<[usize; 4]> {
    match *shape {
        [d, h, w] => Some([1, d, h, w]),
        [c, d, h, w] => Some([c, d, h, w]),
        _ => None,
    }
}

impl VoxelStorage {
    /// Finds out where the voxels are. `file_size` is what nothing can exceed.
    pub fn of(
        dataset: &hdf5::Dataset,
        shape: [usize; 4],
        stored: StoredType,
        file_size: u64,
    ) -> Result<VoxelStorage> {
        let plist = dataset.create_plist()?;
        let native = hdf5::Datatype::from_descriptor(&dataset.dtype()?.to_descriptor()?)?;
        let bytes = shape.iter().map(|&n| n as u128).product::<u128>() * stored.size() as u128;
        // Files of another byte order, or with unused bits, are converted by the
        // library; external files are opened by it.
        if native != dataset.dtype()? || !plist.external().is_empty() {
            return Ok(VoxelStorage::Library);
        }
        match plist.layout() {
            Layout::Contiguous => match dataset.offset() {
                Some(offset) if u128::from(dataset.storage_size()) == bytes => {
                    ensure!(
                        u128::from(offset) + bytes <= u128::from(file_size),
                        "it should hold {bytes} bytes, but the file ends before; \
                         the file is damaged or was not copied completely"
                    );
                    Ok(VoxelStorage::Contiguous { offset })
                }
                // Never written: the library knows the fill value.
                _ => Ok(VoxelStorage::Library),
            },
            Layout::Chunked => {
                let Some(filters) = steps(&plist.filters()) else {
                    return Ok(VoxelStorage::Library);
                };
                let chunk = plist.chunk().context("it has no chunk shape")?;
                let chunk = with_channels(&chunk).context("its chunk shape is not its own")?;
                match index(dataset, shape, chunk, file_size)? {
                    Some((grid, chunks)) => {
                        Ok(VoxelStorage::Chunked(Chunks { shape: chunk, grid, chunks, filters }))
                    }
                    None => Ok(VoxelStorage::Library),
                }
            }
            _ => Ok(VoxelStorage::Library),
        }
    }
}

fn steps(filters: &[Filter]) -> Option<Vec<StoredFilter>> {
    filters
        .iter()
        .map(|filter| match filter {
            Filter::Shuffle => Some(StoredFilter::Shuffle),
            Filter::Deflate(_) => Some(StoredFilter::Deflate),
            _ => None,
        })
        .collect()
}

type Index = ([usize; 4], Vec<Chunk>);

/// The chunks in the order of the grid; `None` if some were never written.
fn index(
    dataset: &hdf5::Dataset,
    shape: [usize; 4],
    chunk: [usize; 4],
    file_size: u64,
) -> Result<Option<Index>> {
    ensure!(chunk.iter().all(|&n| n > 0), "its chunks are empty; the file is damaged");
    let grid: [usize; 4] = std::array::from_fn(|axis| shape[axis].div_ceil(chunk[axis]));
    let count = grid.iter().try_fold(1usize, |count, &n| count.checked_mul(n));
    // A chunk takes more than a byte, so that there cannot be more of them.
    let Some(count) = count.filter(|&count| count as u64 <= file_size) else {
        return Ok(None);
    };
    let mut chunks = vec![Chunk::default(); count];
    let (mut found, mut inside) = (0, true);
    dataset.chunks_visit(|info| {
        let end = info.addr.checked_add(info.size);
        inside &= end.is_some_and(|end| end <= file_size);
        let voxel = match *info.offset {
            [z, y, x] => [0, z, y, x],
            [c, z, y, x] => [c, z, y, x],
            _ => return 0,
        }
        .map(|n| n as usize);
        if (0..4).all(|axis| voxel[axis] < shape[axis]) {
            found += 1;
            chunks[number(voxel, &chunk, &grid)] =
                Chunk { address: info.addr, size: info.size, filter_mask: info.filter_mask };
        }
        0
    })?;
    ensure!(
        inside,
        "one of its chunks lies behind the end of the file; \
         the file is damaged or was not copied completely"
    );
    Ok((found == count).then_some((grid, chunks)))
}
