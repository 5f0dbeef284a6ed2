//! Arrays and lists of names that are no volumes.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use hdf5::types::{FixedAscii, TypeDescriptor, VarLenAscii, VarLenUnicode};
use hdf5::{Dataset, File, H5Type};
use ndarray::{ArrayView, Dimension, s};

use super::{H5File, MemoryFile};

/// Bytes of a name, at most.
const LONGEST: usize = 256;

/// Reads a data set of text, such as a list of names.
///
/// # Errors
/// A file or data set that is missing, and one that holds no text.
pub fn read_texts(path: &Path, name: &str) -> Result<Vec<String>> {
    // The messages about files are those of volumes.
    let file = H5File::open(path)?;
    let names = file.dataset_names();
    drop(file);
    let read = || -> Result<Vec<String>> {
        let file = File::with_options().with_fapl(|plist| plist.file_locking(false)).open(path)?;
        let Ok(dataset) = file.dataset(name) else {
            bail!("no data set `{name}`; the file has {}", names.join(", "));
        };
        let texts = match dataset.dtype()?.to_descriptor()? {
            TypeDescriptor::FixedAscii(_) | TypeDescriptor::FixedUnicode(_) => {
                let texts = dataset.read_raw::<FixedAscii<LONGEST>>()?;
                texts.iter().map(|text| text.as_str().to_owned()).collect()
            }
            TypeDescriptor::VarLenAscii => {
                dataset.read_raw::<VarLenAscii>()?.iter().map(|t| t.as_str().to_owned()).collect()
            }
            TypeDescriptor::VarLenUnicode => dataset
                .read_raw::<VarLenUnicode>()?
                .iter()
                .map(|text| text.as_str().to_owned())
                .collect(),
            other => bail!("the data set `{name}` holds {other}: names are text"),
        };
        Ok(texts)
    };
    read().with_context(|| path.display().to_string())
}

/// An HDF5 file of arrays that is being made in memory. It is written by
/// [`ArrayFile::finish`] and never takes the place of another file.
pub struct ArrayFile {
    file: MemoryFile,
    target: PathBuf,
}

impl ArrayFile {
    /// Begins a file that will stand at `target`.
    ///
    /// # Errors
    /// A library that does not work.
    pub fn create(target: &Path) -> Result<ArrayFile> {
        Ok(ArrayFile { file: MemoryFile::create()?, target: target.to_path_buf() })
    }

    fn context<T>(&self, result: hdf5::Result<T>) -> Result<T> {
        result.map_err(|error| anyhow!("{}: writing failed: {error}", self.target.display()))
    }

    /// Adds an array, in one piece.
    pub fn array<T: H5Type, D: Dimension>(
        &self,
        name: &str,
        values: ArrayView<'_, T, D>,
    ) -> Result<()> {
        let created = if values.is_empty() {
            self.file.hdf5().new_dataset::<T>().shape(values.shape()).create(name)
        } else {
            self.file.hdf5().new_dataset_builder().with_data(values).create(name)
        };
        self.context(created).map(drop)
    }

    /// Adds a list of names.
    pub fn texts(&self, name: &str, texts: &[String]) -> Result<()> {
        let texts: Vec<VarLenUnicode> = texts
            .iter()
            .map(|text| VarLenUnicode::from_str(text))
            .collect::<Result<_, _>>()
            .with_context(|| format!("`{name}` has a text that HDF5 cannot hold"))?;
        self.array(name, ArrayView::from(&texts[..]))
    }

    /// Begins an array (C, D, H, W), whose channels come one by one.
    pub fn channels<T: H5Type>(&self, name: &str, shape: [usize; 4]) -> Result<Channels> {
        let begun = self.file.hdf5().new_dataset::<T>().shape(shape).create(name);
        self.context(begun).map(Channels)
    }

    /// Writes a channel (D, H, W) of an array.
    pub fn channel<T: H5Type, D: Dimension>(
        &self,
        array: &Channels,
        channel: usize,
        values: ArrayView<'_, T, D>,
    ) -> Result<()> {
        self.context(array.0.write_slice(values, s![channel, .., .., ..]))
    }

    /// Writes the file under its name.
    ///
    /// # Errors
    /// A file of that name, a folder that cannot be written, a full disk.
    pub fn finish(self) -> Result<()> {
        self.file.write_new(&self.target)
    }
}

/// An array of an [`ArrayFile`] that is written channel by channel.
pub struct Channels(Dataset);
