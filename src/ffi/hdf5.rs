//! Writing of chunks that are compressed already, and the sources of virtual data sets.

use std::ffi::{CStr, CString, c_char, c_int};
use std::mem::MaybeUninit;
use std::ptr;

use hdf5::plist::DatasetCreate;
use hdf5_sys::h5d::H5Dwrite_chunk;
use hdf5_sys::h5f::H5Fget_file_image;
use hdf5_sys::h5l::{H5L_info2_t, H5L_type_t, H5Lget_info2, H5Lget_val};
use hdf5_sys::h5p::{
    H5P_DEFAULT, H5Pget_virtual_count, H5Pget_virtual_dsetname, H5Pget_virtual_filename,
};
use hdf5_sys::h5pl::{H5PLappend, H5PLremove, H5PLsize};

/// Writes a chunk of a data set without applying the filters.
///
/// `offset` is the chunk's first voxel along each axis, `bytes` the chunk after all
/// filters. Bit i of `filter_mask` says that the i-th filter was skipped.
///
/// # Errors
/// An offset whose rank differs from that of the data set or that is not the corner of a chunk,
/// and errors of writing.
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

/// The bytes of an open file, as they are on the disk or would be.
///
/// # Errors
/// What the library cannot bring to an end, such as a chunk that is not compressed yet.
pub fn file_image(file: &hdf5::File) -> hdf5::Result<Vec<u8>> {
    file.flush()?;
    hdf5::sync::sync(|| {
        // SAFETY: the library's lock is held by `sync`, and the file is open for as long as
        // `file` lives. Without a buffer HDF5 only tells the length.
        let length = unsafe { H5Fget_file_image(file.id(), ptr::null_mut(), 0) };
        let mut bytes = vec![0u8; hdf5::h5check(length)? as usize];
        let (buffer, size) = (bytes.as_mut_ptr().cast(), bytes.len());
        // SAFETY: as above; HDF5 writes at most as many bytes as `bytes` has.
        let written = unsafe { H5Fget_file_image(file.id(), buffer, size) };
        hdf5::h5check(written)?;
        Ok(bytes)
    })
}

/// Makes `folder` the only one that is searched for filters that are not built in.
///
/// # Errors
/// A library that does not start.
pub fn set_plugin_folder(folder: &CStr) -> hdf5::Result<()> {
    hdf5::sync::sync(|| {
        let mut count = 0;
        // SAFETY: the library's lock is held by `sync`. HDF5 writes one number to `count`.
        hdf5::h5check(unsafe { H5PLsize(&mut count) })?;
        for _ in 0..count {
            // SAFETY: as above; the list has a first entry as often as was counted.
            hdf5::h5check(unsafe { H5PLremove(0) })?;
        }
        // SAFETY: as above; HDF5 copies the text, which ends with a zero.
        hdf5::h5check(unsafe { H5PLappend(folder.as_ptr()) })?;
        Ok(())
    })
}

/// The file and the path within it that an external link leads to; `None` if there is no
/// link of that name in the group, or one of another kind.
pub fn external_link(group: &hdf5::Group, name: &str) -> Option<(String, String)> {
    let name = CString::new(name).ok()?;
    let id = group.id();
    let bytes = hdf5::sync::sync(|| {
        let mut info = MaybeUninit::<H5L_info2_t>::zeroed();
        let at = info.as_mut_ptr();
        // SAFETY: the library's lock is held by `sync`, the group is open for as long as
        // `group` lives, and the name ends with a zero. HDF5 fills `info`.
        hdf5::h5check(unsafe { H5Lget_info2(id, name.as_ptr(), at, H5P_DEFAULT) }).ok()?;
        // SAFETY: filled above, or zero. It is read as a number, as a file may have kinds of
        // links that the enumeration lacks.
        let kind = unsafe { (&raw const (*at).type_).cast::<c_int>().read() };
        if kind != H5L_type_t::H5L_TYPE_EXTERNAL as c_int {
            return None;
        }
        // SAFETY: the member of the union that HDF5 fills for every link that is no hard link.
        let mut bytes = vec![0u8; unsafe { (&raw const (*at).u).cast::<usize>().read() }];
        let (value, size) = (bytes.as_mut_ptr().cast(), bytes.len());
        // SAFETY: as above; HDF5 writes at most as many bytes as `bytes` has.
        hdf5::h5check(unsafe { H5Lget_val(id, name.as_ptr(), value, size, H5P_DEFAULT) }).ok()?;
        Some(bytes)
    })?;
    // A byte of version and flags, then two texts that end with a zero.
    let mut texts = bytes.get(1..)?.split(|byte| *byte == 0);
    let mut next = || Some(String::from_utf8_lossy(texts.next()?).into_owned());
    Some((next()?, next()?))
}

/// File and data set of each source of a virtual data set.
///
/// The `hdf5` crate has a function that also reads the selections, but it fails on some that h5py
/// writes.
///
/// # Errors
/// A property list of another class.
pub fn virtual_sources(plist: &DatasetCreate) -> hdf5::Result<Vec<(String, String)>> {
    let id = plist.id();
    hdf5::sync::sync(|| {
        let mut count = 0;
        // SAFETY: the library's lock is held by `sync`, and the list is open for
        // as long as `plist` lives. HDF5 writes one number to `count`.
        hdf5::h5check(unsafe { H5Pget_virtual_count(id, &mut count) })?;
        let text = |get: unsafe extern "C" fn(i64, usize, *mut c_char, usize) -> isize, index| {
            // SAFETY: as above; without a buffer HDF5 only tells the length.
            let length = hdf5::h5check(unsafe { get(id, index, std::ptr::null_mut(), 0) })?;
            let mut bytes = vec![0u8; length as usize + 1];
            // SAFETY: as above; HDF5 writes at most as many bytes, with the
            // final zero, as `bytes` has.
            hdf5::h5check(unsafe { get(id, index, bytes.as_mut_ptr().cast(), bytes.len()) })?;
            bytes.pop();
            Ok::<_, hdf5::Error>(String::from_utf8_lossy(&bytes).into_owned())
        };
        (0..count)
            .map(|i| Ok((text(H5Pget_virtual_filename, i)?, text(H5Pget_virtual_dsetname, i)?)))
            .collect()
    })
}
