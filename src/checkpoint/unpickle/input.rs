//! The bytes of a pickle.

use std::io::{BufRead, Read};
use std::sync::Arc;

use super::super::error::{Fault, damaged};

/// A reader that knows how many bytes of the file are left. A length in the file
/// that exceeds them is refused before memory is allocated for it.
pub struct Input<R> {
    reader: R,
    left: u64,
}

impl<R: BufRead> Input<R> {
    pub fn new(reader: R, length: u64) -> Self {
        Input { reader, left: length }
    }

    /// Bytes not read yet.
    pub fn left(&self) -> u64 {
        self.left
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        self.left = self.left.saturating_sub(N as u64);
        Ok(bytes)
    }

    pub fn byte(&mut self) -> Result<u8, Fault> {
        self.array().map(|[byte]| byte)
    }

    pub fn bytes(&mut self, count: u64) -> Result<Vec<u8>, Fault> {
        if count > self.left {
            return damaged("its pickle ends too early");
        }
        let mut bytes = vec![0; count as usize];
        self.reader.read_exact(&mut bytes)?;
        self.left -= count;
        Ok(bytes)
    }

    pub fn text(&mut self, count: u64) -> Result<Arc<str>, Fault> {
        // Pickled text may contain lone surrogates, which Rust's text cannot hold;
        // they are replaced.
        Ok(String::from_utf8_lossy(&self.bytes(count)?).into())
    }

    pub fn line(&mut self) -> Result<String, Fault> {
        Ok(String::from_utf8_lossy(&self.raw_line()?).into_owned())
    }

    pub fn raw_line(&mut self) -> Result<Vec<u8>, Fault> {
        const LONGEST: u64 = 1 << 20;
        let mut line = Vec::new();
        let read = (&mut self.reader).take(LONGEST).read_until(b'\n', &mut line)?;
        self.left = self.left.saturating_sub(read as u64);
        if line.pop() != Some(b'\n') {
            return damaged("a line of its pickle has no end");
        }
        Ok(line)
    }
}
