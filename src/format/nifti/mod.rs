//! NIfTI-1 and NIfTI-2 volumes (`.nii`, `.nii.gz`, and pairs `.hdr` and `.img`).
//!
//! The headers are described at <https://nifti.nimh.nih.gov>. The header is all that is
//! read here; the voxels are an array as in other formats, so that windows of them are
//! read without the rest.

mod writer;

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use flate2::bufread::MultiGzDecoder;

use crate::files::InputFile;
use crate::format::Format;
use crate::format::axes::{AxisMap, ReadOptions};
use crate::format::notes::Notes;
use crate::format::positioned::Positioned;
use crate::format::raw_array::{self, Layout, Packing, RawArray};
use crate::format::single::{Attributes, SingleVolume};
use crate::format::standing::of_single;
use crate::format::stored::StoredType;
use crate::volume::calibration::{Calibration, LengthUnit, length};

pub(super) static ENTRY: Format = Format {
    name: "NIfTI",
    meaning: "one volume, NIfTI-1 or NIfTI-2, plain or gzipped",
    extensions: &["nii", "nii.gz", "hdr"],
    in_directories: true,
    recognises: |file| Header::of(file).is_ok_and(|header| header.is_some()),
    is_store: |_| false,
    open: |path, options| {
        let (array, attributes) = open(path, options)?;
        Ok(SingleVolume::boxed(array, attributes))
    },
    create: Some(writer::create),
    create_blocks: None,
    shared: None,
    holds: |stored| stored != StoredType::F16,
    most_volumes: 1,
    standing: of_single,
};

/// No header with its extensions is longer.
const LONGEST_HEADER: u64 = 64 << 20;

/// Bytes of the headers of the two versions.
const SIZES: [usize; 2] = [348, 540];

fn open(path: &Path, options: &ReadOptions) -> Result<(RawArray, Attributes)> {
    raw_array::open(path, "a NIfTI file", |input| layout(input, options))
}

fn layout(input: InputFile, options: &ReadOptions) -> Result<(Layout, Attributes)> {
    let path = input.path.clone();
    let header = Header::of(&input.file)?.context("not a NIfTI file that can be read")?;
    let notes = header.notes(&input.file).unwrap_or_default();
    let (dims, names) = header.axes()?;
    let axes = AxisMap::new(names, &dims, options)?;
    let stored = header.stored_type()?;
    let calibration = notes.complete(header.calibration()?, axes.shape[0]);
    let begin = header.begin()?;
    let (data, zipped) = if header.is_pair() {
        let beside = path.with_extension("img");
        (InputFile::open(&beside, "a data file").context("its data file")?, false)
    } else {
        (input, header.zipped)
    };
    let layout = Layout {
        path,
        data,
        offset: if zipped { 0 } else { begin },
        dims,
        axes,
        stored,
        big_endian: header.big_endian,
        packing: if zipped { Packing::Gzip { skip: begin } } else { Packing::Plain },
        scale: header.scale(),
        calibration,
    };
    Ok((layout, notes.texts))
}

/// The fixed part at the beginning of a file.
struct Header {
    bytes: Vec<u8>,
    /// 1 or 2.
    version: usize,
    big_endian: bool,
    zipped: bool,
}

impl Header {
    /// The header of a file, `None` if it is none.
    fn of(file: &File) -> Result<Option<Header>> {
        let mut start = [0; 2];
        if file.read_exact_at(&mut start, 0).is_err() {
            return Ok(None);
        }
        let zipped = start == [0x1f, 0x8b];
        let source = BufReader::new(Positioned { file, position: 0 });
        let mut source: Box<dyn Read> =
            if zipped { Box::new(MultiGzDecoder::new(source)) } else { Box::new(source) };
        let mut bytes = vec![0; SIZES[0]];
        if source.read_exact(&mut bytes).is_err() {
            return Ok(None);
        }
        let number = [bytes[0], bytes[1], bytes[2], bytes[3]];
        for (version, size) in SIZES.into_iter().enumerate().map(|(i, size)| (i + 1, size)) {
            let big_endian = u32::from_be_bytes(number) as usize == size;
            if !big_endian && u32::from_le_bytes(number) as usize != size {
                continue;
            }
            bytes.resize(size, 0);
            source.read_exact(&mut bytes[SIZES[0]..]).context("the header is not complete")?;
            let header = Header { bytes, version, big_endian, zipped };
            let magic = header.magic();
            let known = [b"n+1", b"ni1", b"n+2", b"ni2"].iter().any(|known| magic == *known);
            return Ok(known.then_some(header));
        }
        Ok(None)
    }

    /// The notes of ours that stand in an extension.
    fn notes(&self, file: &File) -> Option<Notes> {
        let source = BufReader::new(Positioned { file, position: 0 });
        let mut source: Box<dyn Read> =
            if self.zipped { Box::new(MultiGzDecoder::new(source)) } else { Box::new(source) };
        let begin =
            self.begin().ok().filter(|begin| *begin <= LONGEST_HEADER && !self.is_pair())?;
        let mut head = vec![0; begin as usize];
        source.read_exact(&mut head).ok()?;
        let mut extensions = head.get(self.bytes.len() + 4..)?;
        while let Some(size) = extensions.get(..4) {
            let size = [size[0], size[1], size[2], size[3]];
            let size =
                if self.big_endian { u32::from_be_bytes(size) } else { u32::from_le_bytes(size) };
            let content = extensions.get(8..size as usize)?;
            let end = content.iter().position(|byte| *byte == 0).unwrap_or(content.len());
            if let Some(notes) = Notes::parse(&String::from_utf8_lossy(&content[..end])) {
                return Some(notes);
            }
            extensions = extensions.get(size as usize..)?;
        }
        None
    }

    fn magic(&self) -> &[u8] {
        let at = [344, 4][self.version - 1];
        &self.bytes[at..at + 3]
    }

    /// Whether the voxels are in a file of their own.
    fn is_pair(&self) -> bool {
        self.magic().starts_with(b"ni")
    }

    fn raw<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes: [u8; N] = std::array::from_fn(|i| self.bytes[at + i]);
        if self.big_endian {
            bytes.reverse();
        }
        bytes
    }

    /// A whole number, which is of 16 bits in the first version.
    fn short(&self, at: [usize; 2]) -> i64 {
        i16::from_le_bytes(self.raw(at[self.version - 1])).into()
    }

    /// A number that is float32 in the first version and float64 in the second.
    fn float(&self, at: [usize; 2]) -> f64 {
        match self.version {
            1 => f32::from_le_bytes(self.raw(at[0])).into(),
            _ => f64::from_le_bytes(self.raw(at[1])),
        }
    }

    /// The `i`-th number of a list.
    fn float_of(&self, [first, second]: [usize; 2], i: usize) -> f64 {
        self.float([first + 4 * i, second + 8 * i])
    }

    /// A code, which is of 16 bits in the first version and 32 in the second.
    fn code(&self, at: [usize; 2]) -> i64 {
        match self.version {
            1 => i16::from_le_bytes(self.raw(at[0])).into(),
            _ => i32::from_le_bytes(self.raw(at[1])).into(),
        }
    }

    fn dim(&self, i: usize) -> i64 {
        match self.version {
            1 => i16::from_le_bytes(self.raw(40 + 2 * i)).into(),
            _ => i64::from_le_bytes(self.raw(16 + 8 * i)),
        }
    }

    /// Lengths and names of the axes, the slowest first. The file has x, y, z, time and
    /// the numbers of a vector, which are channels.
    fn axes(&self) -> Result<(Vec<usize>, &'static str)> {
        let rank = usize::try_from(self.dim(0)).unwrap_or(0);
        ensure!((2..=7).contains(&rank), "it has {} axes: three are needed", self.dim(0));
        let lengths = (1..=rank).map(|i| self.dim(i));
        let lengths: Option<Vec<usize>> = lengths.map(|n| usize::try_from(n).ok()).collect();
        let mut dims =
            lengths.filter(|dims| !dims.contains(&0)).context("one of its axes is empty")?;
        ensure!(
            dims[5.min(rank)..].iter().all(|n| *n == 1),
            "it has {rank} axes {dims:?}, the fastest first: three are needed, and perhaps one of time and one of channels"
        );
        dims.truncate(5);
        dims.reverse();
        Ok((dims, ["yx", "zyx", "tzyx", "ctzyx"][rank.min(5) - 2]))
    }

    fn stored_type(&self) -> Result<StoredType> {
        Ok(match self.short([70, 12]) {
            2 => StoredType::U8,
            4 => StoredType::I16,
            8 => StoredType::I32,
            16 => StoredType::F32,
            64 => StoredType::F64,
            256 => StoredType::I8,
            512 => StoredType::U16,
            768 => StoredType::U32,
            1024 => StoredType::I64,
            1280 => StoredType::U64,
            128 | 2304 => bail!("its voxels are colours: a grey image is needed"),
            other => bail!(
                "its numbers are of the type {other}, which is not read: save it as integers or \
                 floats of 8 to 64 bits"
            ),
        })
    }

    /// The first byte of the voxels.
    fn begin(&self) -> Result<u64> {
        let begin = match self.version {
            1 => self.float([108, 0]) as i64,
            _ => i64::from_le_bytes(self.raw(168)),
        };
        let begin = u64::try_from(begin).ok().context("`vox_offset` is negative")?;
        let least = if self.is_pair() { 0 } else { SIZES[self.version - 1] as u64 };
        Ok(begin.max(least))
    }

    fn scale(&self) -> Option<(f64, f64)> {
        let (slope, intercept) = (self.float([112, 176]), self.float([116, 184]));
        let says = slope != 0.0 && slope.is_finite() && intercept.is_finite();
        (says && (slope, intercept) != (1.0, 0.0)).then_some((slope, intercept))
    }

    /// What the header says of space, whose x and y grow to the right and the front.
    fn calibration(&self) -> Result<Calibration> {
        let unit = match self.version {
            1 => i64::from(self.bytes[123]),
            _ => i32::from_le_bytes(self.raw(500)).into(),
        };
        let mut found = Calibration {
            unit: match unit & 7 {
                1 => Some(LengthUnit::Metre),
                2 => Some(LengthUnit::Millimetre),
                3 => Some(LengthUnit::Micrometre),
                _ => None,
            },
            ..Calibration::default()
        };
        let pixdim = |i| self.float_of([76, 104], i);
        found.spacing = Some([pixdim(3), pixdim(2), pixdim(1)]);
        if self.dim(0) == 2 {
            found.spacing = Some([1.0, pixdim(2), pixdim(1)]);
        }
        // Columns x, y, z of the volume in rows x, y, z of space.
        let (rows, origin): ([[f64; 3]; 3], [f64; 3]) = if self.code([254, 348]) > 0 {
            let row = |axis: usize| [280 + 16 * axis, 400 + 32 * axis];
            (
                [0, 1, 2].map(|axis| [0, 1, 2].map(|i| self.float_of(row(axis), i))),
                [0, 1, 2].map(|axis| self.float_of(row(axis), 3)),
            )
        } else if self.code([252, 344]) > 0 {
            let [b, c, d] = [0, 1, 2].map(|i| self.float_of([256, 352], i));
            let a = (1.0 - (b * b + c * c + d * d)).max(0.0).sqrt();
            let side = if pixdim(0) < 0.0 { -1.0 } else { 1.0 };
            let size = [pixdim(1), pixdim(2), pixdim(3) * side];
            let turn = [
                [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
                [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
                [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ];
            (
                turn.map(|row| [row[0] * size[0], row[1] * size[1], row[2] * size[2]]),
                [0, 1, 2].map(|i| self.float_of([268, 376], i)),
            )
        } else {
            return Ok(found);
        };
        // Space of ITK: x and y the other way round.
        let [x, y, z] = origin;
        found.origin = Some([z, -y, -x]);
        let columns = [2, 1, 0].map(|axis| [rows[2][axis], -rows[1][axis], -rows[0][axis]]);
        let spacing = columns.map(length);
        ensure!(
            spacing.iter().all(|length| length.is_finite() && *length > 0.0),
            "its affine matrix {rows:?} makes voxels of no size: correct it with the program that \
             wrote the file"
        );
        // The matrix knows fewer digits than the sizes, which it most often repeats.
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-5 * b;
        let told = found.spacing.filter(|told| (0..3).all(|i| close(told[i], spacing[i])));
        found.spacing = Some(told.unwrap_or(spacing));
        found.directions =
            Some([0, 1, 2].map(|axis| columns[axis].map(|part| part / spacing[axis])));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::VolumeReader;
    use std::fs;

    /// A header of version 1 of a volume 3 × 2 × 1 of int16, big-endian.
    fn header() -> Vec<u8> {
        let mut bytes = vec![0; 352];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &348i32.to_be_bytes());
        for (i, n) in [3i16, 3, 2, 1, 1, 1, 1, 1].into_iter().enumerate() {
            put(40 + 2 * i, &n.to_be_bytes());
        }
        put(70, &4i16.to_be_bytes());
        for (i, n) in [1.0f32, 0.5, 0.5, 2.0].into_iter().enumerate() {
            put(76 + 4 * i, &n.to_be_bytes());
        }
        put(108, &352f32.to_be_bytes());
        put(112, &2f32.to_be_bytes());
        put(116, &(-1f32).to_be_bytes());
        put(123, &[2]);
        put(344, b"n+1\0");
        bytes
    }

    fn read(header: &[u8], voxels: &[i16]) -> Result<RawArray> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nii");
        let voxels: Vec<u8> = voxels.iter().flat_map(|n| n.to_be_bytes()).collect();
        fs::write(&path, [header, &voxels].concat()).unwrap();
        let (array, _) = open(&path, &ReadOptions::default())?;
        array.read()?;
        Ok(array)
    }

    #[test]
    fn stored_numbers_are_scaled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nii");
        let voxels: Vec<u8> = [-3i16, 0, 1, 2, 3, 4].iter().flat_map(|n| n.to_be_bytes()).collect();
        fs::write(&path, [header(), voxels].concat()).unwrap();
        let (array, _) = open(&path, &ReadOptions::default()).unwrap();
        assert_eq!(array.voxel_size(), Some([2000.0, 500.0, 500.0]));
        let values = array.read().unwrap().into_f32();
        assert_eq!(values.into_raw_vec_and_offset().0, [-7.0, -1.0, 1.0, 3.0, 5.0, 7.0]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let with = |at: usize, value: &[u8]| {
            let mut header = header();
            header[at..at + value.len()].copy_from_slice(value);
            format!("{:#}", read(&header, &[0; 6]).unwrap_err())
        };
        assert!(with(344, b"xxx").contains("not a NIfTI file"));
        assert!(with(46, &2i16.to_be_bytes()).contains("end after 12 of 24 bytes"));
        assert!(with(40, &[0, 4, 0, 3, 0, 1, 0, 1, 0, 2]).contains(":t=N"));
        assert!(with(70, &128i16.to_be_bytes()).contains("colours"));
        assert!(with(70, &32i16.to_be_bytes()).contains("type 32"));
        assert!(with(80, &0f32.to_be_bytes()).contains("voxel size"));
        assert!(with(44, &(-1i16).to_be_bytes()).contains("empty"));
    }
}
