//! A place of its own in a file that others read at the same time.

use std::borrow::Borrow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// Reads a file from a position that no other reader of the file moves.
#[derive(Debug)]
pub(super) struct Positioned<F> {
    pub file: F,
    pub position: u64,
}

impl<F: Borrow<File>> Read for Positioned<F> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.borrow().read_at(bytes, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl<F: Borrow<File>> Seek for Positioned<F> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.file.borrow().metadata()?.len().checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
