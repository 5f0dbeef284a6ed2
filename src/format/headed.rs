//! Files that consist of a head and the voxels: the head is as long as it will be from
//! the beginning, and written when the voxels are there.
//!
//! The head holds a checksum over the whole file, in which the checksum itself counts as
//! zeros. It is in the file as text.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use crc32c::{crc32c, crc32c_append, crc32c_combine};

use super::pack::{Packed, Packing, pack};
use super::spool::{ChannelOrder, MayReplace, Rows, Spooled, SpooledVolume, failure};
use crate::files::{InputFile, PartialFile};

/// Bytes from the beginning of a file in which the checksum is looked for.
const START: usize = 4 << 20;

/// What stands for a checksum that is not known yet.
const NONE: &str = "0000000000000000";

/// How a format stores a volume.
pub(super) struct Headed<'a> {
    pub order: ChannelOrder,
    pub packing: Packing,
    pub pieces: Vec<Rows>,
    /// The bytes in front of the voxels, of these places and this checksum. Their number
    /// does not depend on either.
    pub head: &'a dyn Fn(&Packed, &str) -> Result<Vec<u8>>,
    /// The bytes behind the voxels.
    pub end: &'a dyn Fn(&Packed, &str) -> Vec<u8>,
}

/// Writes a file of one volume under its name.
pub(super) fn write(
    spooled: &Spooled,
    volume: &SpooledVolume,
    headed: &Headed<'_>,
    may_replace: MayReplace<'_>,
) -> Result<()> {
    let make = || -> Result<PartialFile> {
        let partial = PartialFile::create(&spooled.target)?;
        fill(partial.file(), spooled, volume, headed)?;
        Ok(partial)
    };
    let partial = make().map_err(|error| failure(&spooled.target, error))?;
    partial.replace_if(may_replace)?.map_err(|error| failure(&spooled.target, error.into()))
}

fn fill(
    mut file: &File,
    spooled: &Spooled,
    volume: &SpooledVolume,
    headed: &Headed<'_>,
) -> Result<()> {
    let Headed { order, packing, pieces, head, end } = headed;
    let length = head(&Packed::expected(pieces.len()), NONE)?.len();
    file.seek(SeekFrom::Start(length as u64))?;
    let mut out = BufWriter::with_capacity(1 << 18, file);
    let piece = |number: usize| volume.read(pieces[number], *order);
    let packed = pack(pieces.len(), &piece, *packing, spooled.threads, &mut out)?;
    let first = head(&packed, NONE)?;
    ensure!(first.len() == length, "its head became {} bytes, not {length}", first.len());
    let mut sum = crc32c_combine(crc32c(&first), packed.stored, usize::try_from(packed.bytes)?);
    let mut bytes = length as u64 + packed.bytes;
    let last = end(&packed, NONE);
    // The end of a gzip stream depends on the checksum itself.
    if !is_gzip(&first) {
        sum = crc32c_append(sum, &last);
        bytes += last.len() as u64;
    }
    let checksum = text(sum, bytes);
    out.write_all(&end(&packed, &checksum))?;
    out.flush()?;
    drop(out);
    file.write_all_at(&head(&packed, &checksum)?, 0)?;
    Ok(())
}

fn is_gzip(start: &[u8]) -> bool {
    start.starts_with(&[0x1f, 0x8b])
}

fn text(sum: u32, bytes: u64) -> String {
    format!("{sum:08x}{:08x}", bytes as u32)
}

/// Whether a file still is as it was when this checksum was noted in it.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn is_as_written(path: &Path, noted: &str) -> Result<bool> {
    let input = InputFile::open(path, "a file of volumes")?;
    if noted.len() != NONE.len() {
        return Ok(false);
    }
    let mut start = vec![0; START.min(usize::try_from(input.size)?)];
    input.file.read_exact_at(&mut start, 0)?;
    let place = start.windows(noted.len()).position(|bytes| bytes == noted.as_bytes());
    let Some(place) = place else { return Ok(false) };
    start[place..place + noted.len()].copy_from_slice(NONE.as_bytes());
    let last = if is_gzip(&start) { 8 } else { 0 };
    let bytes = input.size.checked_sub(last).context("it ends too early")?;
    let first = usize::try_from(bytes)?.min(start.len());
    let mut sum = crc32c(&start[..first]);
    let mut file = &input.file;
    file.seek(SeekFrom::Start(first as u64))?;
    let mut rest = file.take(bytes - first as u64);
    let mut part = vec![0; 1 << 20];
    loop {
        let read = rest.read(&mut part)?;
        if read == 0 {
            return Ok(text(sum, bytes) == noted);
        }
        sum = crc32c_append(sum, &part[..read]);
    }
}
