//! Tiles at the right edge of pages with LZW compression.
//!
//! The crate `tiff` reads tiles that reach beyond the page row by row, and takes the end of
//! the compressed bytes for an error while its decoder still holds pixels
//! (<https://github.com/image-rs/image-tiff/issues/395>). As an image of its own, a tile is
//! read in one piece.

use std::fs::File;
use std::io::Cursor;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use tiff::decoder::{ChunkType, Decoder};
use tiff::tags::{ByteOrder, Tag};

use super::{LONGEST_LIST, PageDecoder, PageLayout, limits};
use crate::runtime::memory;

const LZW: u16 = 5;

/// Whether a tile has to be read by [`read`]: `width` of its columns are within the page.
pub(super) fn is_one(page: &mut PageDecoder, width: u32) -> Result<bool> {
    Ok(page.get_chunk_type() == ChunkType::Tile
        && width < page.chunk_dimensions().0
        && page.find_tag_unsigned::<u16>(Tag::Compression)? == Some(LZW))
}

/// Reads the first rows of a tile over its whole width.
pub(super) fn read(
    page: &mut PageDecoder,
    file: &File,
    layout: &PageLayout,
    tile: u32,
    rows: usize,
    out: &mut Vec<u8>,
) -> Result<()> {
    let mut of_tile = |tag| -> Result<u64> {
        let all = page.find_tag_unsigned_vec::<u64>(tag)?;
        all.and_then(|all| all.get(tile as usize).copied()).context("it has too few tiles")
    };
    let (from, length) = (of_tile(Tag::TileOffsets)?, of_tile(Tag::TileByteCounts)?);
    let length = usize::try_from(length)?;
    ensure!(length <= LONGEST_LIST, "it claims a tile of {length} bytes");
    memory::ensure_room(&[length], 1)?;
    let width = page.chunk_dimensions().0;
    let mut short = |tag, absent| -> Result<u32> {
        Ok(page.find_tag_unsigned_vec::<u16>(tag)?.and_then(|all| all.first().copied()))
            .map(|found| u32::from(found.unwrap_or(absent)))
    };
    let (predictor, format) = (short(Tag::Predictor, 1)?, short(Tag::SampleFormat, 1)?);
    let rows_there = u32::try_from(rows)?;
    let entries = [
        (Tag::ImageWidth, width),
        (Tag::ImageLength, rows_there),
        (Tag::BitsPerSample, layout.bits.into()),
        (Tag::Compression, LZW.into()),
        (Tag::PhotometricInterpretation, u32::from(!layout.inverted)),
        (Tag::StripOffsets, 0),
        (Tag::SamplesPerPixel, 1),
        (Tag::RowsPerStrip, rows_there),
        (Tag::StripByteCounts, u32::try_from(length)?),
        (Tag::Predictor, predictor),
        (Tag::SampleFormat, format),
    ];
    let big = page.byte_order() == ByteOrder::BigEndian;
    let n16 = |n: u16| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let n32 = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let begin = 8 + 2 + 12 * entries.len() + 4;
    let mut image = if big { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
    image.extend(n32(8));
    image.extend(n16(entries.len() as u16));
    for (tag, value) in entries {
        let value = if tag == Tag::StripOffsets { begin as u32 } else { value };
        // One number of the type LONG.
        image.extend([n16(tag.to_u16()), n16(4)].concat());
        image.extend([n32(1), n32(value)].concat());
    }
    image.extend([0; 4]);
    image.resize(begin + length, 0);
    file.read_exact_at(&mut image[begin..], from).context("a tile is cut off")?;
    let mut image = Decoder::new(Cursor::new(image))?.with_limits(limits());
    out.resize(rows * (width as usize * usize::from(layout.bits)).div_ceil(8), 0);
    image.read_chunk_bytes(0, out)?;
    Ok(())
}
