//! Storages: the numbers of a file, of which its tensors are views.
//!
//! A storage is read when a tensor asks for it, straight into the tensor's
//! memory if the tensor is all of it. The last storage of which only a part was
//! wanted is kept, for models whose parameters are slices of one long array.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use zip::ZipArchive;

use super::error::{Fault, damaged};

pub(super) trait ReadSeek: Read + Seek + Send {}
impl<T: Read + Seek + Send> ReadSeek for T {}

/// Where the bytes of a storage are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Location {
    /// An entry of the zip archive.
    Entry(usize),
    /// From this position of the file on.
    Position(u64),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct StoredBytes {
    pub location: Location,
    pub bytes: usize,
}

pub(super) enum Reader {
    Zip(ZipArchive<Box<dyn ReadSeek>>),
    Plain(Box<dyn ReadSeek>),
}

struct OpenArchive {
    reader: Reader,
    /// Bytes that tensors may still read.
    budget: u64,
    kept: Option<(usize, Arc<Vec<u8>>)>,
}

pub(super) struct Source {
    path: PathBuf,
    storages: Vec<StoredBytes>,
    /// For files of big-endian machines: bytes per element of each storage.
    swapped: Option<Vec<usize>>,
    open: Mutex<OpenArchive>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Source {
    /// Tensors of one file may share storages and so need more memory than the file
    /// is large. All tensors together may be this many times as large as the
    /// storages; a file made to fill the memory exceeds that.
    const SHARING: u64 = 4;

    pub fn new(
        path: &Path,
        storages: Vec<StoredBytes>,
        swapped: Option<Vec<usize>>,
        reader: Reader,
    ) -> Source {
        let total: u64 = storages.iter().map(|storage| storage.bytes as u64).sum();
        let budget = total.saturating_mul(Self::SHARING).saturating_add(1 << 20);
        let open = Mutex::new(OpenArchive { reader, budget, kept: None });
        Source { path: path.to_path_buf(), storages, swapped, open }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the bytes of a tensor from the budget.
    pub fn spend(&self, bytes: u64) -> Result<(), Fault> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.budget.checked_sub(bytes) {
            Some(left) => {
                open.budget = left;
                Ok(())
            }
            None => damaged("its tensors take far more memory than the file holds"),
        }
    }

    /// `count` bytes of a storage from `start` on.
    pub fn read(&self, storage: usize, start: usize, count: usize) -> Result<Vec<u8>, Fault> {
        let whole = start == 0 && count == self.storages[storage].bytes;
        if !whole {
            return Ok(self.shared(storage)?[start..start + count].to_vec());
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((index, bytes)) = &open.kept
            && *index == storage
        {
            return Ok(bytes.to_vec());
        }
        self.load(&mut open.reader, storage)
    }

    /// All bytes of a storage, kept until another one is asked for.
    pub fn shared(&self, storage: usize) -> Result<Arc<Vec<u8>>, Fault> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((index, bytes)) = &open.kept
            && *index == storage
        {
            return Ok(bytes.clone());
        }
        open.kept = None;
        let bytes = Arc::new(self.load(&mut open.reader, storage)?);
        open.kept = Some((storage, bytes.clone()));
        Ok(bytes)
    }

    fn load(&self, reader: &mut Reader, index: usize) -> Result<Vec<u8>, Fault> {
        let StoredBytes { location, bytes } = self.storages[index];
        let mut data = match (location, reader) {
            (Location::Entry(entry), Reader::Zip(archive)) => read_entry(archive, entry, bytes)?,
            (Location::Position(position), Reader::Plain(file)) => {
                file.seek(SeekFrom::Start(position))?;
                read_exactly(file, bytes)?
            }
            _ => return damaged("a storage is not where it should be"),
        };
        if let Some(sizes) = &self.swapped {
            data.chunks_exact_mut(sizes[index]).for_each(<[u8]>::reverse);
        }
        Ok(data)
    }
}

/// An entry of `bytes` bytes, its checksum verified.
pub(super) fn read_entry(
    archive: &mut ZipArchive<Box<dyn ReadSeek>>,
    entry: usize,
    bytes: usize,
) -> Result<Vec<u8>, Fault> {
    let mut file = archive.by_index(entry).map_err(zip_fault)?;
    let data = read_exactly(&mut file, bytes)?;
    // The crate compares the checksum when it reaches the end of the entry.
    if file.read(&mut [0])? != 0 {
        return damaged("an entry of the archive is longer than it should be");
    }
    Ok(data)
}

/// Reads exactly that many bytes. The caller has checked that the file can hold
/// them.
fn read_exactly(reader: &mut impl Read, bytes: usize) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    data.try_reserve_exact(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::OutOfMemory, "out of memory"))?;
    let read = reader.take(bytes as u64).read_to_end(&mut data)?;
    if read < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(data)
}

pub(super) fn zip_fault(error: zip::result::ZipError) -> Fault {
    use zip::result::ZipError;
    match error {
        ZipError::Io(error) => Fault::Io(error),
        ZipError::UnsupportedArchive(what) => {
            Fault::Unsupported(format!("the archive cannot be read ({what})"))
        }
        error => Fault::Damaged(format!("the archive cannot be read ({error})")),
    }
}
