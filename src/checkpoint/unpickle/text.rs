//! Texts and numbers as the older protocols write them.

use std::sync::Arc;

use super::super::error::{Fault, damaged};
use super::{Node, long_integer};

pub(super) fn decimal(text: &str) -> Result<Node, Fault> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    match text.parse::<i64>() {
        Ok(integer) => Ok(Node::Int(integer)),
        Err(error) if matches!(error.kind(), PosOverflow | NegOverflow) => Ok(long_integer()),
        Err(_) => damaged("its pickle holds an integer that is none"),
    }
}

/// The bytes of a text whose characters are all below 256.
pub(super) fn latin1(text: &str) -> Result<Arc<[u8]>, Fault> {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    match bytes {
        Some(bytes) => Ok(bytes.into()),
        None => damaged("its pickle holds bytes beyond 255"),
    }
}

/// A text of Python 2, which had one type for text and bytes: text if it is UTF-8.
pub(super) fn text_or_bytes(bytes: Vec<u8>) -> Node {
    match String::from_utf8(bytes) {
        Ok(text) => Node::Str(text.into()),
        Err(error) => Node::Bytes(error.into_bytes().into()),
    }
}

/// The text of protocol 0 between its quotes, escapes resolved.
pub(super) fn unquote(line: &str) -> Result<Vec<u8>, Fault> {
    let raw = line.as_bytes();
    let inner = match raw {
        [first @ (b'\'' | b'"'), inner @ .., last] if first == last => inner,
        _ => return damaged("its pickle holds text without quotes"),
    };
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'r') => out.push(b'\r'),
            Some(b'x') => {
                let digits = [bytes.next(), bytes.next()];
                let value = digits.iter().try_fold(0u8, |value, digit| {
                    char::from((*digit)?).to_digit(16).map(|digit| value << 4 | digit as u8)
                });
                match value {
                    Some(value) => out.push(value),
                    None => return damaged("its pickle holds a bad escape"),
                }
            }
            Some(other) => out.push(other),
            None => return damaged("its pickle holds a bad escape"),
        }
    }
    Ok(out)
}

/// Protocol 0 writes text as `raw-unicode-escape`: Latin-1, and only \u and \U
/// are escapes.
pub(super) fn unescape_unicode(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let digits = match rest.as_bytes().get(1) {
            Some(b'u') => 4,
            Some(b'U') => 8,
            _ => 0,
        };
        let code = rest.get(2..2 + digits).filter(|_| digits > 0);
        let c = code.and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32);
        match c {
            Some(c) => {
                out.push(c);
                rest = &rest[2 + digits..];
            }
            None => {
                out.push('\\');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}
