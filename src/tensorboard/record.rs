//! The framing of TensorFlow's record files: length, its checksum, the data, its
//! checksum.

use std::io::{self, Write};

pub(super) fn write(out: &mut impl Write, data: &[u8]) -> io::Result<()> {
    let length = (data.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked(&length))?;
    out.write_all(data)?;
    out.write_all(&masked(data))
}

/// CRC-32C, rotated and with an offset, so that checksums of data that contain checksums stay
/// reliable (tensorflow/core/lib/hash/crc32c.h).
fn masked(data: &[u8]) -> [u8; 4] {
    let crc = crc32c::crc32c(data);
    crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}
