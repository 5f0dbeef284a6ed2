//! A `.pytorch` file, opened: its pickle as a [`PickleValue`], its tensors on demand.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use zip::ZipArchive;
use zip::read::{ArchiveOffset, Config};

use super::error::{CheckpointError, Fault, damaged};
use super::legacy;
use super::objects::{element_sizes, to_value};
use super::safetensors;
use super::source::{Location, ReadSeek, Reader, Source, StoredBytes, read_entry, zip_fault};
use super::unpickle::{self, Input};
use super::value::PickleValue;
use crate::files::open_ordinary;

/// An open checkpoint.
#[derive(Clone, Debug)]
pub struct File {
    /// The object given to `torch.save`; its tensors are still in the file.
    pub root: PickleValue,
}

impl File {
    /// Reads the pickle of a checkpoint. Tensors are read when asked for; the
    /// file stays open as long as one of them lives.
    pub fn open(path: &Path) -> Result<File, CheckpointError> {
        let file = open_ordinary(path)
            .map_err(|source| CheckpointError::Read { path: path.to_path_buf(), source })?;
        Self::from_reader(path, BufReader::new(file))
    }

    /// Reads a checkpoint from memory or any other source that can seek; `name`
    /// stands for the file in messages.
    pub fn from_reader(
        name: &Path,
        reader: impl Read + Seek + Send + 'static,
    ) -> Result<File, CheckpointError> {
        let root = read(name, Box::new(reader)).map_err(|fault| fault.at(name))?;
        // Opaque objects are allowed anywhere but in place of the weights.
        let weights = ["model_state_dict", "state_dict"].map(|key| root.get(key));
        for value in weights.into_iter().flatten().chain([&root]) {
            if let PickleValue::Opaque(object) = value {
                return Err(Fault::UnknownGlobal(object.to_string()).at(name));
            }
        }
        Ok(File { root })
    }
}

fn read(name: &Path, mut reader: Box<dyn ReadSeek>) -> Result<PickleValue, Fault> {
    let length = reader.seek(SeekFrom::End(0))?;
    reader.seek(SeekFrom::Start(0))?;
    let mut magic = Vec::new();
    (&mut reader).take(9).read_to_end(&mut magic)?;
    reader.seek(SeekFrom::Start(0))?;
    match magic.as_slice() {
        [] => damaged("is empty"),
        start if safetensors::is_one(start, length) => safetensors::read(name, reader, length),
        [b'P', b'K', 3, 4, ..] => read_zip(name, reader, length),
        [0x80, ..] => legacy::read(name, reader, length),
        _ => damaged(
            "is no checkpoint: it begins neither as a zip archive nor as a pickle, nor \
                      as a file of `safetensors`",
        ),
    }
}

/// An archive may unpack to this many times its size; weights hardly shrink, and
/// an archive made to fill the memory shrinks a thousandfold.
const UNPACKING: u64 = 64;

fn read_zip(name: &Path, reader: Box<dyn ReadSeek>, length: u64) -> Result<PickleValue, Fault> {
    // Nothing precedes the archive, so offsets in it count from the start of the
    // file. Without this setting the `zip` crate (9.8.1) guesses that the central
    // directory ends where the end record begins. torch always writes a zip64 end
    // record and its locator in between, 76 bytes. The crate keeps its guess if a
    // header begins there: 76 bytes behind the start of the directory, which is the
    // second header if the first is of 76 bytes, `data.pkl` in a folder whose name
    // has 21 bytes. It then takes the second header for the first and reports
    // damage. `tests/checkpoint/archives.rs` has the smallest such archive.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut archive = ZipArchive::with_config(config, reader).map_err(zip_fault)?;
    let mut entries = HashMap::with_capacity(archive.len());
    let (mut packed, mut unpacked) = (0u64, 0u64);
    for index in 0..archive.len() {
        let entry = archive.by_index_data(index).map_err(zip_fault)?;
        packed = packed.saturating_add(entry.compressed_size());
        unpacked = unpacked.saturating_add(entry.size());
        let entry_name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        entries.insert(entry_name, (index, entry.size()));
    }
    if packed > length {
        return damaged("the entries of its archive overlap or reach beyond the end");
    }
    if unpacked > length.saturating_mul(UNPACKING).saturating_add(1 << 20) {
        return damaged(format!("its archive would unpack to {unpacked} bytes"));
    }

    let pickles = entries.keys().filter(|name| *name == "data.pkl" || name.ends_with("/data.pkl"));
    let Some(pickle_name) = pickles.min_by_key(|name| (name.len(), name.as_str())) else {
        return damaged("its archive holds no `data.pkl`");
    };
    let prefix = pickle_name.trim_end_matches("data.pkl").to_string();
    let (pickle, pickle_size) = entries[pickle_name];
    let bytes = read_entry(&mut archive, pickle, pickle_size as usize)?;
    let size = bytes.len() as u64;
    let heap = unpickle::run(&mut Input::new(Cursor::new(bytes), size))?;

    let swapped = match entries.get(&format!("{prefix}byteorder")) {
        None => false,
        Some(&(index, size)) => {
            let order = read_entry(&mut archive, index, size as usize)?;
            match order.trim_ascii() {
                b"little" => false,
                b"big" => true,
                _ => return damaged("its byte order is neither little nor big"),
            }
        }
    };
    let mut storages = Vec::with_capacity(heap.storages.len());
    for declared in &heap.storages {
        match entries.get(&format!("{prefix}data/{}", declared.key)) {
            Some(&(index, size)) if size == declared.bytes() as u64 => {
                storages.push(StoredBytes {
                    location: Location::Entry(index),
                    bytes: declared.bytes(),
                });
            }
            Some(&(_, size)) => {
                return damaged(format!(
                    "its storage `{}` has {size} bytes where {} are wanted",
                    declared.key,
                    declared.bytes()
                ));
            }
            None => return damaged(format!("its storage `{}` is missing", declared.key)),
        }
    }
    let swapped = element_sizes(&heap, swapped)?;
    let source = Source::new(name, storages, swapped, Reader::Zip(archive));
    to_value(&heap, &Arc::new(source))
}

/// The SHA-256 of a file, as 64 hexadecimal digits.
pub fn sha256(path: &Path) -> Result<String, CheckpointError> {
    let hash = || -> std::io::Result<String> {
        let mut reader = BufReader::with_capacity(1 << 20, open_ordinary(path)?);
        let mut hasher = Sha256::new();
        loop {
            let chunk = reader.fill_buf()?;
            if chunk.is_empty() {
                break;
            }
            hasher.update(chunk);
            let read = chunk.len();
            reader.consume(read);
        }
        Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    };
    hash().map_err(|source| CheckpointError::Read { path: path.to_path_buf(), source })
}
