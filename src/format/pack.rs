//! Pieces of a file on their way to the disk, compressed by several threads.

use std::io::{self, Write};
use std::thread;

use anyhow::{Context, Result, ensure};
use crc32c::{crc32c, crc32c_combine};
use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use libdeflater::{CompressionLvl, Compressor};

use crate::volume;

/// How the voxels of a file are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    /// All pieces in one stream of deflate. Readers exist that take the first of several
    /// gzip streams for the whole.
    Deflate {
        level: u8,
    },
    /// Every piece as a zlib stream of its own.
    Zlib {
        level: u8,
    },
}

impl Packing {
    /// The voxels as one stream, or as they are.
    pub fn in_one_stream(compression: volume::Compression) -> Packing {
        match compression {
            volume::Compression::None => Packing::Plain,
            volume::Compression::Gzip { level } => Packing::Deflate { level },
        }
    }
}

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Packed {
    /// First byte, counted from the first of all, and number of bytes of each piece.
    pub pieces: Vec<(u64, u64)>,
    /// Bytes that were written.
    pub bytes: u64,
    /// Checksum (CRC-32C) of the bytes that were written.
    pub stored: u32,
    /// Checksums of the voxels as they were before.
    pub crc: Crc,
    pub adler: Adler,
}

/// A piece that a thread has compressed.
struct Piece {
    bytes: Vec<u8>,
    crc: Crc,
    adler: Adler,
}

/// Writes pieces 0 to `count` one after the other, compressed by that many threads.
/// `piece` gives the bytes of one of them.
pub(super) fn pack(
    count: usize,
    piece: &(dyn Fn(usize) -> Result<Vec<u8>> + Sync),
    packing: Packing,
    threads: usize,
    out: &mut dyn Write,
) -> Result<Packed> {
    let mut packed = Packed::default();
    let numbers: Vec<usize> = (0..count).collect();
    // A few for each thread, so that none waits long for the slowest.
    for group in numbers.chunks(2 * threads.max(1)) {
        let work = |number: usize| -> Result<Piece> {
            let plain = piece(number)?;
            let mut crc = Crc::new();
            crc.update(&plain);
            let adler = Adler::of(&plain);
            let bytes = match packing {
                Packing::Plain => plain,
                Packing::Deflate { level } => deflate(&plain, level, number + 1 == count)?,
                Packing::Zlib { level } => zlib(&plain, level)?,
            };
            Ok(Piece { bytes, crc, adler })
        };
        let made: Vec<Result<Piece>> = if threads <= 1 {
            group.iter().map(|number| work(*number)).collect()
        } else {
            let share = group.len().div_ceil(threads);
            let work = &work;
            thread::scope(|scope| {
                let running: Vec<_> = group
                    .chunks(share)
                    .map(|numbers| {
                        scope.spawn(move || {
                            numbers.iter().map(|number| work(*number)).collect::<Vec<_>>()
                        })
                    })
                    .collect();
                running
                    .into_iter()
                    .flat_map(|thread| thread.join().unwrap_or_else(|_| vec![panicked()]))
                    .collect()
            })
        };
        for made in made {
            packed.add(&made?, out)?;
        }
    }
    Ok(packed)
}

fn panicked() -> Result<Piece> {
    Err(anyhow::anyhow!("a thread that compresses has failed inside the program"))
}

impl Packed {
    fn add(&mut self, piece: &Piece, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&piece.bytes)?;
        let length = piece.bytes.len();
        self.pieces.push((self.bytes, length as u64));
        self.bytes += length as u64;
        self.stored = crc32c_combine(self.stored, crc32c(&piece.bytes), length);
        self.crc.combine(&piece.crc);
        self.adler = self.adler.followed_by(piece.adler);
        Ok(())
    }

    /// The places of pieces that are not written yet: right in number, and nothing else.
    pub fn expected(count: usize) -> Packed {
        Packed { pieces: vec![(0, 0); count], ..Packed::default() }
    }
}

/// A part of a deflate stream that ends at a whole byte, and with the last block if it is
/// the last part.
fn deflate(plain: &[u8], level: u8, last: bool) -> Result<Vec<u8>> {
    let mut stream = Compress::new(Compression::new(u32::from(level.min(9))), false);
    let mut out = Vec::with_capacity(plain.len() / 2 + 64);
    let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
    loop {
        let rest = &plain[stream.total_in() as usize..];
        let status = stream.compress_vec(rest, &mut out, flush)?;
        let all = stream.total_in() as usize == plain.len();
        match status {
            Status::StreamEnd => return Ok(out),
            // With room to spare, nothing is held back.
            _ if all && !last && out.len() < out.capacity() => return Ok(out),
            _ => out.reserve(out.capacity().max(64)),
        }
    }
}

fn zlib(plain: &[u8], level: u8) -> Result<Vec<u8>> {
    let level = CompressionLvl::new(level.into()).ok().context("no level of compression")?;
    let mut compressor = Compressor::new(level);
    let mut out = vec![0; compressor.zlib_compress_bound(plain.len())];
    let length = compressor.zlib_compress(plain, &mut out)?;
    out.truncate(length);
    Ok(out)
}

/// The checksum at the end of a zlib stream, with the number of bytes that it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Adler {
    a: u32,
    b: u32,
    length: u64,
}

impl Default for Adler {
    fn default() -> Self {
        Adler { a: 1, b: 0, length: 0 }
    }
}

impl Adler {
    const BASE: u32 = 65_521;

    fn of(bytes: &[u8]) -> Adler {
        let (mut a, mut b) = (1, 0);
        // As many as cannot overflow 32 bits.
        for part in bytes.chunks(5552) {
            for byte in part {
                a += u32::from(*byte);
                b += a;
            }
            a %= Self::BASE;
            b %= Self::BASE;
        }
        Adler { a, b, length: bytes.len() as u64 }
    }

    /// The checksum of these bytes with others behind them.
    fn followed_by(self, next: Adler) -> Adler {
        let base = u64::from(Self::BASE);
        // Every byte of `next` adds the sum of all before it once more.
        let before = u64::from(self.a) + base - 1;
        let b = u64::from(self.b) + u64::from(next.b) + before % base * (next.length % base);
        Adler {
            a: ((before + u64::from(next.a)) % base) as u32,
            b: (b % base) as u32,
            length: self.length + next.length,
        }
    }

    pub fn value(self) -> u32 {
        self.b << 16 | self.a
    }
}

/// A text as blocks of a deflate stream that hold it as it is, none of them the last.
pub(super) fn stored_blocks(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 5 * (bytes.len() / 65_535 + 1));
    for part in bytes.chunks(65_535) {
        let length = part.len() as u16;
        out.push(0);
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(part);
    }
    out
}

/// What gzip streams begin with: no name, no time, any system.
pub(super) const GZIP: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// What zlib streams begin with.
pub(super) const ZLIB: [u8; 2] = [0x78, 0x9c];

/// What ends a gzip stream of some bytes and, behind them, the voxels of `packed`.
pub(super) fn gzip_end(ahead: &[u8], packed: &Packed) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(ahead);
    crc.combine(&packed.crc);
    [crc.sum().to_le_bytes(), crc.amount().to_le_bytes()].concat()
}

/// Checks that a number fits into the field of a header.
pub(super) fn fits<T: TryFrom<usize>>(number: usize, what: &str) -> Result<T> {
    let fitting = T::try_from(number).ok();
    ensure!(fitting.is_some(), "{what} of {number} is more than the format has room for");
    fitting.context("no number")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn pieces_make_one_stream() {
        let noise: Vec<u8> = (0..100_000u32).map(|i| (i.wrapping_mul(i) >> 5) as u8).collect();
        let parts: Vec<&[u8]> = noise.chunks(7_777).collect();
        let ahead = vec![3; 70_000];
        for (threads, level) in [(1, 1), (3, 4), (2, 9)] {
            let mut out = [&GZIP[..], &stored_blocks(&ahead)].concat();
            let packing = Packing::Deflate { level };
            let packed =
                pack(parts.len(), &|i| Ok(parts[i].to_vec()), packing, threads, &mut out).unwrap();
            out.extend(gzip_end(&ahead, &packed));
            let mut read = Vec::new();
            flate2::read::GzDecoder::new(&out[..]).read_to_end(&mut read).unwrap();
            assert_eq!(read, [&ahead[..], &noise].concat());

            let mut out = ZLIB.to_vec();
            let packed =
                pack(parts.len(), &|i| Ok(parts[i].to_vec()), packing, threads, &mut out).unwrap();
            out.extend(packed.adler.value().to_be_bytes());
            let mut read = Vec::new();
            flate2::read::ZlibDecoder::new(&out[..]).read_to_end(&mut read).unwrap();
            assert_eq!(read, noise);
            assert_eq!(packed.adler, Adler::of(&noise));
            assert_eq!(packed.stored, crc32c(&out[2..out.len() - 4]));
        }
    }

    #[test]
    fn pieces_are_streams_of_their_own() {
        let mut out = Vec::new();
        let packing = Packing::Zlib { level: 4 };
        let packed = pack(3, &|i| Ok(vec![i as u8; 9]), packing, 2, &mut out).unwrap();
        for (number, (first, length)) in packed.pieces.iter().enumerate() {
            let piece = &out[*first as usize..(first + length) as usize];
            let mut read = Vec::new();
            flate2::read::ZlibDecoder::new(piece).read_to_end(&mut read).unwrap();
            assert_eq!(read, [number as u8; 9]);
        }
    }
}
