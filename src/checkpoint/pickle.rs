//! A [`PickleValue`] as a pickle of protocol 2, the one that every torch reads.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::{Fault, contents};
use super::tensor::{Tensor, TensorData};
use super::value::PickleValue;

/// A pickle and the tensors to store as `0`, `1`, …
pub(super) struct Pickle {
    pub bytes: Vec<u8>,
    pub tensors: Vec<Tensor>,
}

pub(super) fn pickle(value: &PickleValue) -> Result<Pickle, Fault> {
    let mut writer = Writer {
        bytes: vec![0x80, 2],
        tensors: Vec::new(),
        storages: HashMap::new(),
        memo: HashMap::new(),
    };
    writer.value(value)?;
    writer.bytes.push(b'.');
    Ok(Pickle { bytes: writer.bytes, tensors: writer.tensors })
}

struct Writer {
    bytes: Vec<u8>,
    tensors: Vec<Tensor>,
    /// Storage numbers of tensors in memory: a tensor that occurs twice is stored once.
    storages: HashMap<*const TensorData, usize>,
    /// Memo numbers of names and words that every tensor repeats.
    memo: HashMap<String, u8>,
}

impl Writer {
    fn value(&mut self, value: &PickleValue) -> Result<(), Fault> {
        match value {
            PickleValue::None => self.bytes.push(b'N'),
            PickleValue::Bool(true) => self.bytes.push(0x88),
            PickleValue::Bool(false) => self.bytes.push(0x89),
            PickleValue::Int(integer) => self.int(*integer),
            PickleValue::Float(number) => {
                self.bytes.push(b'G');
                self.bytes.extend(number.to_be_bytes());
            }
            PickleValue::Str(text) => self.text(text)?,
            // Protocol 2 has no bytes; Python writes them as a call of `encode`.
            PickleValue::Bytes(bytes) => {
                self.global("_codecs", "encode");
                let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
                self.text(&text)?;
                self.text("latin1")?;
                self.bytes.extend([0x86, b'R']);
            }
            PickleValue::List(items) => {
                self.bytes.extend(b"](");
                for item in items {
                    self.value(item)?;
                }
                self.bytes.push(b'e');
            }
            PickleValue::Tuple(items) => {
                self.bytes.push(b'(');
                for item in items {
                    self.value(item)?;
                }
                self.bytes.push(b't');
            }
            PickleValue::Dict(entries) => {
                self.bytes.push(b'}');
                self.entries(entries)?;
            }
            PickleValue::OrderedDict(entries) => {
                self.empty_ordered_dict();
                self.entries(entries)?;
            }
            PickleValue::Tensor(tensor) => self.tensor(tensor)?,
            PickleValue::Type(name) | PickleValue::Opaque(name) => {
                return contents(format!("the type `{name}` is not written"));
            }
        }
        Ok(())
    }

    fn int(&mut self, integer: i64) {
        if let Ok(small) = u8::try_from(integer) {
            self.bytes.extend([b'K', small]);
        } else if let Ok(medium) = i32::try_from(integer) {
            self.bytes.push(b'J');
            self.bytes.extend(medium.to_le_bytes());
        } else {
            self.bytes.extend([0x8a, 8]);
            self.bytes.extend(integer.to_le_bytes());
        }
    }

    fn text(&mut self, text: &str) -> Result<(), Fault> {
        let Ok(length) = u32::try_from(text.len()) else {
            return contents("a text of more than 4 GB is not written");
        };
        self.bytes.push(b'X');
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(text.as_bytes());
        Ok(())
    }

    fn entries(&mut self, entries: &[(PickleValue, PickleValue)]) -> Result<(), Fault> {
        self.bytes.push(b'(');
        for (key, value) in entries {
            self.value(key)?;
            self.value(value)?;
        }
        self.bytes.push(b'u');
        Ok(())
    }

    fn empty_ordered_dict(&mut self) {
        self.global("collections", "OrderedDict");
        self.bytes.extend([b')', b'R']);
    }

    /// Writes what `emit` gives the first time, and a reference after that.
    fn remembered(&mut self, key: String, emit: impl FnOnce(&mut Vec<u8>)) {
        if let Some(&slot) = self.memo.get(&key) {
            self.bytes.extend([b'h', slot]);
            return;
        }
        emit(&mut self.bytes);
        if let Ok(slot) = u8::try_from(self.memo.len()) {
            self.memo.insert(key, slot);
            self.bytes.extend([b'q', slot]);
        }
    }

    fn global(&mut self, module: &str, name: &str) {
        self.remembered(format!("c{module}.{name}"), |bytes| {
            bytes.extend(format!("c{module}\n{name}\n").as_bytes());
        });
    }

    fn word(&mut self, word: &'static str) {
        self.remembered(word.to_string(), |bytes| {
            bytes.push(b'X');
            bytes.extend((word.len() as u32).to_le_bytes());
            bytes.extend(word.as_bytes());
        });
    }

    /// `torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False,
    /// OrderedDict())`.
    fn tensor(&mut self, tensor: &Tensor) -> Result<(), Fault> {
        let index = match tensor {
            Tensor::Memory(data) => match self.storages.get(&Arc::as_ptr(data)) {
                Some(&index) => index,
                None => {
                    self.storages.insert(Arc::as_ptr(data), self.tensors.len());
                    self.tensors.push(tensor.clone());
                    self.tensors.len() - 1
                }
            },
            Tensor::File(_) => {
                self.tensors.push(tensor.clone());
                self.tensors.len() - 1
            }
        };
        let shape = tensor.shape();
        let mut strides = vec![1i64; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis].max(1) as i64;
        }
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.bytes.extend(b"((");
        self.word("storage");
        self.global("torch", tensor.dtype().storage_class());
        self.text(&index.to_string())?;
        self.word("cpu");
        self.int(shape.iter().product::<usize>() as i64);
        self.bytes.extend(b"tQK\0(");
        for &size in shape {
            self.int(size as i64);
        }
        self.bytes.extend(b"t(");
        for stride in strides {
            self.int(stride);
        }
        self.bytes.extend([b't', 0x89]);
        self.empty_ordered_dict();
        self.bytes.extend(b"tR");
        Ok(())
    }
}
