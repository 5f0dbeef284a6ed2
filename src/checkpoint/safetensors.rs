//! Files of `safetensors`: a header in JSON, then the numbers one after another.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::error::{Fault, damaged};
use super::source::{Location, ReadSeek, Reader, Source, StoredBytes};
use super::tensor::{DType, Layout, Tensor, View};
use super::value::PickleValue;

/// The largest header that is read, in bytes: that of some hundred thousand tensors.
const LONGEST_HEADER: u64 = 16 << 20;

/// Whether a file may be one of `safetensors`: `start` is its first bytes, eight of
/// which are the length of the header that follows.
pub(super) fn is_one(start: &[u8], length: u64) -> bool {
    match start.split_first_chunk() {
        Some((header, [b'{', ..])) => u64::from_le_bytes(*header) <= length.saturating_sub(8),
        _ => false,
    }
}

/// The tensors by name, in the order of their numbers in the file.
pub(super) fn read(
    name: &Path,
    mut reader: Box<dyn ReadSeek>,
    length: u64,
) -> Result<PickleValue, Fault> {
    reader.seek(SeekFrom::Start(0))?;
    let mut size = [0; 8];
    reader.read_exact(&mut size)?;
    let size = u64::from_le_bytes(size);
    if size > LONGEST_HEADER {
        return damaged(format!("its header is of {size} bytes"));
    }
    let mut header = vec![0; size as usize];
    reader.read_exact(&mut header)?;
    // Checks that the tensors follow each other without gaps, each as long as its
    // shape and type ask for.
    let metadata: Metadata = match serde_json::from_slice(&header) {
        Ok(metadata) => metadata,
        Err(error) => return damaged(format!("its header cannot be read ({error})")),
    };
    let start = 8 + size;
    if start.checked_add(metadata.data_len() as u64) != Some(length) {
        return damaged("its tensors are not as long as the file");
    }

    let mut tensors = Vec::new();
    let mut storages = Vec::new();
    for name in metadata.offset_keys() {
        let Some(info) = metadata.info(&name) else { continue };
        let (from, to) = info.data_offsets;
        storages.push(StoredBytes {
            location: Location::Position(start + from as u64),
            bytes: to - from,
        });
        tensors.push((name, info));
    }
    let sizes: Vec<usize> = storages.iter().map(|storage| storage.bytes).collect();
    let source = Arc::new(Source::new(name, storages, None, Reader::Plain(reader)));
    let mut entries = Vec::with_capacity(tensors.len());
    for (index, (name, info)) in tensors.into_iter().enumerate() {
        let value = match element(info.dtype) {
            Some(dtype) => {
                let layout = Layout::contiguous(&info.shape);
                let shape = info.shape.clone();
                let view =
                    View::new(source.clone(), index, sizes[index], dtype, shape, layout, false)?;
                PickleValue::Tensor(Tensor::File(view))
            }
            None => PickleValue::Opaque(format!("safetensors.{}", info.dtype).into()),
        };
        entries.push((PickleValue::from(name), value));
    }
    Ok(PickleValue::OrderedDict(entries))
}

fn element(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::BOOL => DType::Bool,
        Dtype::U8 => DType::U8,
        Dtype::I8 => DType::I8,
        Dtype::I16 => DType::I16,
        Dtype::I32 => DType::I32,
        Dtype::I64 => DType::I64,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        _ => return None,
    })
}
