//! Reads a checkpoint in every way the program does.

use std::io::{Cursor, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::checkpoint::{Checkpoint, File, PickleValue};

/// An archive that is sound but for its pickle: checksums keep a fuzzer from
/// getting there by changing an archive.
pub fn with_pickle(pickle: &[u8]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let entries: [(&str, &[u8]); 4] =
        [("a/data.pkl", pickle), ("a/data/0", &[1; 64]), ("a/data/1", &[2; 8]), ("a/data/2", &[])];
    for (name, bytes) in entries {
        archive.start_file(name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

pub fn read(bytes: Vec<u8>) {
    let length = bytes.len();
    let name = Path::new("fuzzed");
    if let Ok(file) = File::from_reader(name, Cursor::new(bytes.clone())) {
        let mut taken = 0;
        tensors(&file.root, &mut taken);
        // What the reader promises: archives unpack to at most 64 times their
        // size, and tensors share storages up to 4 times.
        assert!(taken <= 4 * (64 * length + (1 << 20)) + (1 << 20));
        if let Ok(checkpoint) = Checkpoint::from_reader(name, Cursor::new(bytes)) {
            drop(checkpoint);
        }
    }
}

fn tensors(value: &PickleValue, taken: &mut usize) {
    match value {
        PickleValue::Tensor(tensor) => {
            if let Ok(data) = tensor.data() {
                assert_eq!(data.bytes.len(), data.elements() * data.dtype.size());
                assert_eq!(data.to_f64().len(), data.elements());
                *taken += data.bytes.len();
            }
        }
        PickleValue::List(items) | PickleValue::Tuple(items) => {
            items.iter().for_each(|item| tensors(item, taken));
        }
        PickleValue::Dict(entries) | PickleValue::OrderedDict(entries) => {
            for (key, value) in entries {
                tensors(key, taken);
                tensors(value, taken);
            }
        }
        _ => {}
    }
}
