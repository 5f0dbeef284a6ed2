//! Reads a checkpoint in every way the program does.

use std::io::Cursor;
use std::path::Path;

use crate::checkpoint::{Checkpoint, File, Value};

pub fn read(bytes: Vec<u8>) {
    let length = bytes.len();
    let name = Path::new("fuzzed");
    if let Ok(file) = File::from_reader(name, Cursor::new(bytes.clone())) {
        let mut taken = 0;
        tensors(&file.root, &mut taken);
        // What the readme of the room promises: archives may unpack to 64 times
        // their size, and tensors may share storages up to 4 times.
        assert!(taken <= 4 * (64 * length + (1 << 20)) + (1 << 20));
        if let Ok(checkpoint) = Checkpoint::from_reader(name, Cursor::new(bytes)) {
            drop(checkpoint);
        }
    }
}

fn tensors(value: &Value, taken: &mut usize) {
    match value {
        Value::Tensor(tensor) => {
            if let Ok(data) = tensor.data() {
                assert_eq!(data.bytes.len(), data.elements() * data.dtype.size());
                assert_eq!(data.to_f64().len(), data.elements());
                *taken += data.bytes.len();
            }
        }
        Value::List(items) | Value::Tuple(items) => {
            items.iter().for_each(|item| tensors(item, taken));
        }
        Value::Dict(entries) | Value::OrderedDict(entries) => {
            for (key, value) in entries {
                tensors(key, taken);
                tensors(value, taken);
            }
        }
        _ => {}
    }
}
