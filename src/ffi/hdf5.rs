//! Chunks handed to HDF5 as they are to stand in the file.

use hdf5_sys::h5d::H5Dwrite_chunk;
use hdf5_sys::h5p::H5P_DEFAULT;

/// Stores a chunk of a data set without sending it through the filters.
///
/// `offset` is the chunk's first voxel along each axis. `bytes` is the chunk
/// after all filters; bit i of `filter_mask` says that the i-th filter was left
/// out.
///
/// # Errors
/// An offset of another rank than the data set or that is no corner of a chunk,
/// and whatever goes wrong in writing.
pub fn write_chunk(
    dataset: &hdf5::Dataset,
    offset: &[u64],
    filter_mask: u32,
    bytes: &[u8],
) -> hdf5::Result<()> {
    if offset.len() != dataset.ndim() {
        return Err(format!("an offset of {} axes for {}", offset.len(), dataset.ndim()).into());
    }
    hdf5::sync::sync(|| {
        // SAFETY: the library's lock is held by `sync`. The data set is open for
        // as long as `dataset` lives. HDF5 reads as many numbers from `offset` as
        // the data set has axes, which was checked above, and `bytes.len()` bytes
        // from `bytes`; it keeps neither pointer.
        hdf5::h5check(unsafe {
            H5Dwrite_chunk(
                dataset.id(),
                H5P_DEFAULT,
                filter_mask,
                offset.as_ptr(),
                bytes.len(),
                bytes.as_ptr().cast(),
            )
        })
    })?;
    Ok(())
}
