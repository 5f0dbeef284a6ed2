//! NRRD volumes, as ITK-SNAP, 3D Slicer and ANTSUN write them.
//!
//! The format is described at <https://teem.sourceforge.net/nrrd/format.html>. Read
//! are three axes, the encodings raw and gzip, data in the same file or beside it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use flate2::bufread::MultiGzDecoder;
use ndarray::Array4;

use crate::volume::{Values, Volume};

/// No header line is longer than this in a file that is NRRD.
const LONGEST_LINE: u64 = 1 << 16;

/// Reads a volume (D, H, W). NRRD names the fastest axis first, so that sizes
/// `x y z` are (D, H, W) = (z, y, x).
pub fn read(path: &Path) -> Result<Volume> {
    let mut file = BufReader::new(File::open(path)?);
    let header = Header::read(&mut file)?;
    let [width, height, depth] = header.sizes()?;
    let voxels = depth
        .checked_mul(height)
        .and_then(|n| n.checked_mul(width))
        .context("`sizes` is larger than any volume")?;
    let kind = header.kind()?;
    let bytes = voxels.checked_mul(kind.size()).context("`sizes` is larger than any volume")?;
    let big_endian = header.big_endian(kind)?;
    let data = match header.field(&["data file", "datafile"]) {
        None => header.data(file, bytes)?,
        Some(name) => {
            // Relative to the header.
            let beside = path.parent().unwrap_or(Path::new("")).join(name);
            let file = File::open(&beside)
                .with_context(|| format!("its data file {}", beside.display()))?;
            header.data(BufReader::new(file), bytes)?
        }
    };
    let values = kind.values((1, depth, height, width), &data, big_endian)?;
    Ok(Volume::plain(values))
}

struct Header {
    /// By their names in lower case.
    fields: HashMap<String, String>,
}

impl Header {
    /// Reads up to the empty line that the data follow, or to the end of the file.
    fn read(file: &mut impl BufRead) -> Result<Header> {
        let magic = line(file)?.unwrap_or_default();
        ensure!(magic.starts_with("NRRD000"), "not an NRRD file");
        let mut fields = HashMap::new();
        while let Some(line) = line(file)? {
            if line.is_empty() {
                break;
            }
            // `key:=value` is for the user alone.
            if line.starts_with('#') || line.contains(":=") {
                continue;
            }
            let (key, value) = line
                .split_once(':')
                .with_context(|| format!("the header has a line without a colon: {line:?}"))?;
            fields.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
        Ok(Header { fields })
    }

    fn field(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.fields.get(*name)).map(String::as_str)
    }

    fn required(&self, name: &str) -> Result<&str> {
        self.field(&[name]).with_context(|| format!("the header has no `{name}`"))
    }

    /// Along x, y, z.
    fn sizes(&self) -> Result<[usize; 3]> {
        let text = self.required("sizes")?;
        let sizes: Result<Vec<usize>, _> = text.split_whitespace().map(str::parse).collect();
        let sizes = sizes.with_context(|| format!("`sizes: {text}`"))?;
        let [x, y, z] = sizes[..] else {
            bail!("it has {} axes (`sizes: {text}`): three are needed", sizes.len())
        };
        ensure!(x > 0 && y > 0 && z > 0, "it is empty (`sizes: {text}`)");
        Ok([x, y, z])
    }

    fn kind(&self) -> Result<Kind> {
        let name = self.required("type")?;
        Kind::of(name).with_context(|| format!("`type: {name}` is not read"))
    }

    fn big_endian(&self, kind: Kind) -> Result<bool> {
        match self.field(&["endian"]) {
            Some(endian) if endian.eq_ignore_ascii_case("big") => Ok(true),
            Some(endian) if endian.eq_ignore_ascii_case("little") => Ok(false),
            None if kind.size() == 1 => Ok(false),
            other => bail!("`endian` is {other:?}: little or big is needed"),
        }
    }

    fn skip(&self, names: &[&str]) -> Result<i64> {
        match self.field(names) {
            None => Ok(0),
            Some(text) => text.parse().with_context(|| format!("`{}: {text}`", names[0])),
        }
    }

    /// The bytes of the voxels: exactly `length`.
    fn data(&self, mut file: impl BufRead, length: usize) -> Result<Vec<u8>> {
        for _ in 0..self.skip(&["line skip", "lineskip"])? {
            line(&mut file)?.context("the file ends within `line skip`")?;
        }
        let skip = self.skip(&["byte skip", "byteskip"])?;
        let encoding = self.required("encoding")?.to_ascii_lowercase();
        match encoding.as_str() {
            // −1 says that the voxels are the last bytes of the file.
            "raw" if skip == -1 => {
                let mut all = Vec::new();
                file.read_to_end(&mut all)?;
                ensure!(all.len() >= length, "the data end after {} of {length} bytes", all.len());
                Ok(all.split_off(all.len() - length))
            }
            "raw" => exactly(file, skip, length),
            "gz" | "gzip" => exactly(MultiGzDecoder::new(file), skip, length),
            _ => bail!("`encoding: {encoding}` is not read: save it as raw or gzip"),
        }
    }
}

/// A line without its end; none at the end of the file.
fn line(file: &mut impl BufRead) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    let read = file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes)?;
    ensure!((read as u64) < LONGEST_LINE, "the header has a line without an end");
    if read == 0 {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
}

fn exactly(mut data: impl Read, skip: i64, length: usize) -> Result<Vec<u8>> {
    let skip = u64::try_from(skip).ok().context("`byte skip` is negative")?;
    let skipped = std::io::copy(&mut data.by_ref().take(skip), &mut std::io::sink())?;
    ensure!(skipped == skip, "the file ends within `byte skip`");
    // Grows with what is there: a header may claim any size.
    let mut bytes = Vec::new();
    data.take(length as u64).read_to_end(&mut bytes)?;
    ensure!(bytes.len() == length, "the data end after {} of {length} bytes", bytes.len());
    Ok(bytes)
}

/// The types of numbers that NRRD has, without its 64-bit unsigned and blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    F32,
    F64,
}

impl Kind {
    fn of(name: &str) -> Option<Kind> {
        Some(match name.to_ascii_lowercase().as_str() {
            "signed char" | "int8" | "int8_t" => Kind::I8,
            "uchar" | "unsigned char" | "uint8" | "uint8_t" => Kind::U8,
            "short" | "short int" | "signed short" | "signed short int" | "int16" | "int16_t" => {
                Kind::I16
            }
            "ushort" | "unsigned short" | "unsigned short int" | "uint16" | "uint16_t" => Kind::U16,
            "int" | "signed int" | "int32" | "int32_t" => Kind::I32,
            "uint" | "unsigned int" | "uint32" | "uint32_t" => Kind::U32,
            "longlong"
            | "long long"
            | "long long int"
            | "signed long long"
            | "signed long long int"
            | "int64"
            | "int64_t" => Kind::I64,
            "float" => Kind::F32,
            "double" => Kind::F64,
            _ => return None,
        })
    }

    fn size(self) -> usize {
        match self {
            Kind::I8 | Kind::U8 => 1,
            Kind::I16 | Kind::U16 => 2,
            Kind::I32 | Kind::U32 | Kind::F32 => 4,
            Kind::I64 | Kind::F64 => 8,
        }
    }

    /// In this type, or in the next wider one that volumes know.
    fn values(self, shape: (usize, usize, usize, usize), data: &[u8], big: bool) -> Result<Values> {
        macro_rules! decoded {
            ($stored:ty => $type:ty) => {{
                let (numbers, _) = data.as_chunks::<{ size_of::<$stored>() }>();
                let decode = if big { <$stored>::from_be_bytes } else { <$stored>::from_le_bytes };
                let numbers = numbers.iter().map(|bytes| <$type>::from(decode(*bytes))).collect();
                Array4::from_shape_vec(shape, numbers)?.into()
            }};
        }
        Ok(match self {
            Kind::I8 => decoded!(i8 => i32),
            Kind::U8 => decoded!(u8 => u8),
            Kind::I16 => decoded!(i16 => i32),
            Kind::U16 => decoded!(u16 => u16),
            Kind::I32 => decoded!(i32 => i32),
            Kind::U32 => decoded!(u32 => i64),
            Kind::I64 => decoded!(i64 => i64),
            Kind::F32 => decoded!(f32 => f32),
            Kind::F64 => decoded!(f64 => f64),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file(header: &str, data: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nrrd");
        fs::write(&path, [header.as_bytes(), data].concat()).unwrap();
        (folder, path)
    }

    fn message(header: &str, data: &[u8]) -> String {
        let (_folder, path) = file(header, data);
        format!("{:#}", read(&path).unwrap_err())
    }

    const PLAIN: &str = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 3 2 1\nencoding: raw\n\n";

    #[test]
    fn the_first_size_is_that_of_the_fastest_axis() {
        let (_folder, path) = file(PLAIN, &[0, 1, 2, 3, 4, 5]);
        let volume = read(&path).unwrap();
        assert_eq!(volume.shape(), [1, 2, 3]);
        assert_eq!(volume.into_f32()[(0, 0, 1, 0)], 3.0);
    }

    #[test]
    fn big_endian_signed_numbers_keep_their_value() {
        let header = "NRRD0004\r\n# a comment\r\ntype: short\r\nsizes: 2 1 1\r\nendian: big\r\nencoding: raw\r\nmine:=1\r\n\r\n";
        let (_folder, path) = file(header, &[0xff, 0xfe, 1, 0]);
        let values = read(&path).unwrap().into_f32();
        assert_eq!(values.into_raw_vec_and_offset().0, [-2.0, 256.0]);
    }

    #[test]
    fn data_may_lie_beside_the_header_after_other_bytes() {
        let header =
            "NRRD0004\ntype: uchar\nsizes: 2 1 1\nencoding: raw\nbyte skip: -1\ndata file: a.raw\n";
        let (folder, path) = file(header, &[]);
        fs::write(folder.path().join("a.raw"), [9, 9, 9, 1, 2]).unwrap();
        let values = read(&path).unwrap().into_f32();
        assert_eq!(values.into_raw_vec_and_offset().0, [1.0, 2.0]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(message("P5 3 2", &[]), "not an NRRD file");
        assert_eq!(message(PLAIN, &[1, 2]), "the data end after 2 of 6 bytes");
        let with = |from: &str, to: &str| message(&PLAIN.replace(from, to), &[0; 6]);
        assert!(with("sizes: 3 2 1", "sizes: 3 2").contains("2 axes"));
        assert!(with("3 2 1", "3 0 1").contains("empty"));
        assert!(with("3 2 1", "4294967295 4294967295 4294967295").contains("larger than any"));
        assert!(with("3 2 1", "99999 99999 99").contains("end after 6 of"));
        assert!(with("raw", "bzip2").contains("save it as raw or gzip"));
        assert!(with("uint8", "block").contains("`type: block`"));
        assert!(with("uint8", "uint16").contains("`endian`"));
        assert!(with("type: uint8\n", "").contains("no `type`"));
    }
}
