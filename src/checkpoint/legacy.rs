//! Files of torch before 1.6: five pickles, then the storages one after another.

use std::collections::HashMap;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use super::error::{Fault, damaged};
use super::objects::{element_sizes, to_value};
use super::source::{Location, ReadSeek, Reader, Source, StoredBytes};
use super::unpickle::{self, Heap, Input, Node};
use super::value::PickleValue;

/// The first pickle: torch's magic number of ten bytes.
const MAGIC: [u8; 14] =
    [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

pub(super) fn read(
    name: &Path,
    mut reader: Box<dyn ReadSeek>,
    length: u64,
) -> Result<PickleValue, Fault> {
    // The number exceeds 64 bits, so its bytes are compared. Only the protocol in
    // the second byte varies.
    let mut magic = [0; 15];
    reader.read_exact(&mut magic)?;
    if magic[0] != MAGIC[0] || magic[2..14] != MAGIC[2..] || magic[14] != b'.' {
        return damaged("is a pickle, but not one of `torch.save`");
    }
    let mut input = Input::new(BufReader::new(&mut reader), length.saturating_sub(15));

    let protocol = unpickle::run(&mut input)?;
    match protocol.nodes[protocol.root as usize] {
        Node::Int(1001) => {}
        _ => return Err(Fault::Unsupported("its protocol is not 1001".into())),
    }
    let system = unpickle::run(&mut input)?;
    let swapped = match entry(&system, "little_endian") {
        Some(Node::Bool(little)) => !little,
        _ => return damaged("it does not say its byte order"),
    };
    let heap = unpickle::run(&mut input)?;
    let order = unpickle::run(&mut input)?;
    let mut position = length - input.left();
    drop(input);

    let Node::List(keys) = &order.nodes[order.root as usize] else {
        return damaged("it does not list its storages");
    };
    let known: HashMap<_, _> = heap
        .storages
        .iter()
        .enumerate()
        .map(|(index, declared)| (declared.key.as_ref(), index))
        .collect();
    let mut places = vec![None; heap.storages.len()];
    for &key in keys {
        let Node::Str(key) = &order.nodes[key as usize] else {
            return damaged("it does not list its storages");
        };
        let index = known.get(key.as_ref()).copied();
        let Some(index) = index.filter(|&index| places[index].is_none()) else {
            return damaged(format!("it lists the storage `{key}`, which nothing refers to"));
        };
        let declared = &heap.storages[index];
        reader.seek(SeekFrom::Start(position))?;
        let mut count = [0; 8];
        reader.read_exact(&mut count)?;
        let count = if swapped { u64::from_be_bytes(count) } else { u64::from_le_bytes(count) };
        if count != declared.elements as u64 {
            return damaged(format!(
                "its storage `{key}` has {count} elements, not as many as said"
            ));
        }
        let start = position + 8;
        let end = start.checked_add(declared.bytes() as u64).filter(|&end| end <= length);
        let Some(end) = end else {
            return damaged(format!("its storage `{key}` reaches beyond the end of the file"));
        };
        places[index] =
            Some(StoredBytes { location: Location::Position(start), bytes: declared.bytes() });
        position = end;
    }
    let Some(storages) = places.into_iter().collect() else {
        return damaged("one of its storages is missing");
    };
    let swapped = element_sizes(&heap, swapped)?;
    let source = Source::new(name, storages, swapped, Reader::Plain(reader));
    to_value(&heap, &Arc::new(source))
}

fn entry<'a>(heap: &'a Heap, name: &str) -> Option<&'a Node> {
    let Node::Dict { entries, .. } = &heap.nodes[heap.root as usize] else {
        return None;
    };
    entries.iter().find_map(|&(key, value)| match &heap.nodes[key as usize] {
        Node::Str(text) if text.as_ref() == name => Some(&heap.nodes[value as usize]),
        _ => None,
    })
}
