//! numpy scalars as they stand in pickles: a type and a few bytes.

use super::super::error::{Fault, damaged};
use super::globals::printable;
use super::{Node, long_integer, opaque};

/// `numpy.dtype` of a scalar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NumpyType {
    kind: u8,
    size: usize,
    pub big_endian: bool,
}

impl NumpyType {
    /// The type that numpy pickles as this text, such as `f8` or `b1`. Other types,
    /// such as structures, texts and dates, are opaque.
    pub fn parse(text: &str) -> Node {
        let big_endian = text.starts_with('>');
        let name = text.trim_start_matches(['<', '>', '=', '|']);
        let known = matches!(
            name,
            "f2" | "f4" | "f8" | "i1" | "i2" | "i4" | "i8" | "u1" | "u2" | "u4" | "u8" | "b1"
        );
        match name.as_bytes() {
            [kind, digit] if known => {
                let size = usize::from(digit - b'0');
                Node::NumpyType(NumpyType { kind: *kind, size, big_endian })
            }
            _ => opaque(&printable("numpy.dtype", text)),
        }
    }

    /// The scalar that `raw` stands for.
    pub fn scalar(self, raw: &[u8]) -> Result<Node, Fault> {
        if raw.len() != self.size {
            return damaged("a numpy scalar has the wrong length");
        }
        let mut bytes = [0u8; 8];
        bytes[..raw.len()].copy_from_slice(raw);
        if self.big_endian {
            bytes[..raw.len()].reverse();
        }
        let bits = u64::from_le_bytes(bytes);
        Ok(match (self.kind, self.size) {
            (b'f', 2) => Node::Float(half::f16::from_bits(bits as u16).to_f64()),
            (b'f', 4) => Node::Float(f64::from(f32::from_bits(bits as u32))),
            (b'f', _) => Node::Float(f64::from_bits(bits)),
            (b'i', 1) => Node::Int(i64::from(bits as i8)),
            (b'i', 2) => Node::Int(i64::from(bits as i16)),
            (b'i', 4) => Node::Int(i64::from(bits as i32)),
            (b'i', _) => Node::Int(bits as i64),
            (b'b', _) => Node::Bool(bits != 0),
            _ => i64::try_from(bits).map_or_else(|_| long_integer(), Node::Int),
        })
    }
}
