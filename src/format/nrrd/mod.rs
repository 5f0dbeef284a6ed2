//! NRRD volumes, as ITK-SNAP, 3D Slicer and ANTSUN write them.
//!
//! The format is described at <https://teem.sourceforge.net/nrrd/format.html>. Read
//! are three axes and perhaps one of channels, the encodings raw and gzip, data in the
//! same file or beside it.

mod writer;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::files::InputFile;
use crate::format::Format;
use crate::format::axes::{AxisMap, ReadOptions};
use crate::format::positioned::Positioned;
use crate::format::raw_array::{self, Layout, Packing, RawArray, at_the_end, data_beside};
use crate::format::single::{Attributes, SingleVolume};
use crate::format::standing::of_single;
use crate::format::stored::StoredType;
use crate::volume::calibration::{Calibration, LengthUnit, length};

pub(super) static ENTRY: Format = Format {
    name: "NRRD",
    meaning: "one volume, encoded raw or gzip, its data in the file or beside it",
    extensions: &["nrrd", "nhdr"],
    in_directories: true,
    recognises: |file| {
        let mut start = [0; MAGIC.len()];
        file.read_exact_at(&mut start, 0).is_ok() && start == MAGIC
    },
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

/// How the files begin.
const MAGIC: [u8; 7] = *b"NRRD000";

/// No header line is longer than this in a file that is NRRD.
const LONGEST_LINE: u64 = 16 << 20;

/// Opens a volume (D, H, W) or (C, D, H, W). NRRD names the fastest axis first, so that
/// sizes `x y z` are (D, H, W) = (z, y, x).
fn open(path: &Path, options: &ReadOptions) -> Result<(RawArray, Attributes)> {
    raw_array::open(path, "an NRRD file", |input| layout(input, options))
}

fn layout(input: InputFile, options: &ReadOptions) -> Result<(Layout, Attributes)> {
    let path = input.path.clone();
    let mut file = BufReader::new(&input.file);
    let header = Header::read(&mut file)?;
    let dims = header.sizes()?;
    let names = header.axis_names(dims.len())?;
    let axes = AxisMap::new(&names, &dims, options)?;
    let stored = header.stored_type()?;
    let packed = header.is_packed()?;
    let big_endian = header.big_endian(stored)?;
    let calibration = header.calibration(&axes)?;
    let end = file.stream_position()?;
    let (data, begin) = match header.field(&["data file", "datafile"]) {
        None => (input, end),
        Some(name) => (data_beside(&path, name, &format!("data file: {name}"))?, 0),
    };
    let (offset, packing) = header.place(&data, begin, (&dims, stored), packed)?;
    let layout = Layout {
        path,
        data,
        offset,
        dims,
        axes,
        stored,
        big_endian,
        packing,
        scale: None,
        calibration,
    };
    Ok((layout, header.texts))
}

struct Header {
    /// By their names in lower case.
    fields: HashMap<String, String>,
    /// What stands there for the user, `key:=value`.
    texts: Attributes,
}

/// Key of the names of the channels, one a line.
const CHANNELS: &str = "channel_names";

impl Header {
    /// Reads up to the empty line that the data follow, or to the end of the file.
    fn read(file: &mut impl BufRead) -> Result<Header> {
        let magic = line(file)?.unwrap_or_default();
        ensure!(magic.starts_with("NRRD000"), "not an NRRD file");
        let (mut fields, mut texts) = (HashMap::new(), HashMap::new());
        while let Some(line) = line(file)? {
            if line.is_empty() || is_list(&fields) {
                break;
            }
            if line.starts_with('#') {
                continue;
            }
            if let Some((key, value)) = line.split_once(":=") {
                texts.insert(key.trim().to_owned(), unescaped(value));
                continue;
            }
            let (key, value) = line
                .split_once(':')
                .with_context(|| format!("the header has a line without a colon: {line:?}"))?;
            fields.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
        Ok(Header { fields, texts })
    }

    fn field(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.fields.get(*name)).map(String::as_str)
    }

    fn required(&self, name: &str) -> Result<&str> {
        self.field(&[name]).with_context(|| format!("the header has no `{name}`"))
    }

    /// The slowest axis first.
    fn sizes(&self) -> Result<Vec<usize>> {
        let text = self.required("sizes")?;
        let sizes: Result<Vec<usize>, _> = text.split_whitespace().rev().map(str::parse).collect();
        let sizes = sizes.with_context(|| format!("`sizes: {text}`"))?;
        ensure!(
            (3..=5).contains(&sizes.len()),
            "it has {} axes (`sizes: {text}`): three are needed, and perhaps one of channels",
            sizes.len()
        );
        ensure!(!sizes.contains(&0), "it is empty (`sizes: {text}`)");
        Ok(sizes)
    }

    /// Names of the axes, the slowest first. Of more than three, those that are not of
    /// space are channels if their kind is one of colours or vectors.
    fn axis_names(&self, rank: usize) -> Result<String> {
        if rank == 3 {
            return Ok("zyx".into());
        }
        let kinds = self.field(&["kinds"]).unwrap_or_default().to_ascii_lowercase();
        let kinds: Vec<&str> = kinds.split_whitespace().collect();
        let directions = self.field(&["space directions"]).map(directions).unwrap_or_default();
        let mut space = ['x', 'y', 'z'].into_iter();
        let mut names = Vec::new();
        for axis in 0..rank {
            let apart = directions.get(axis).is_some_and(Option::is_none);
            names.push(match kinds.get(axis).copied().unwrap_or("???") {
                "time" => 't',
                "space" | "domain" | "???" | "none" if !apart => {
                    // A fourth one is that of channels, unless the file says otherwise.
                    space.next().unwrap_or(if kinds.is_empty() { 'c' } else { '?' })
                }
                _ => 'c',
            });
        }
        ensure!(
            names.iter().filter(|name| "xyz".contains(**name)).count() == 3,
            "its axes are of the kinds {kinds:?}: three of them have to be of space; say with \
             `axes` what they are"
        );
        Ok(names.into_iter().rev().collect())
    }

    fn stored_type(&self) -> Result<StoredType> {
        let name = self.required("type")?;
        stored_type(name).with_context(|| format!("`type: {name}` is not read"))
    }

    /// Whether the data are compressed.
    fn is_packed(&self) -> Result<bool> {
        match self.required("encoding")?.to_ascii_lowercase().as_str() {
            "raw" => Ok(false),
            "gz" | "gzip" => Ok(true),
            other => bail!("`encoding: {other}` is not read: save it as raw or gzip"),
        }
    }

    fn big_endian(&self, stored: StoredType) -> Result<bool> {
        match self.field(&["endian"]) {
            Some(endian) if endian.eq_ignore_ascii_case("big") => Ok(true),
            Some(endian) if endian.eq_ignore_ascii_case("little") => Ok(false),
            None if stored.size() == 1 => Ok(false),
            other => bail!(
                "`endian` is {}: little or big is needed",
                other.unwrap_or("not in the header")
            ),
        }
    }

    /// What the header says of space, for axes numbered from the slowest.
    fn calibration(&self, axes: &AxisMap) -> Result<Calibration> {
        let mut found = Calibration::default();
        let names =
            self.texts.get(CHANNELS).map(|names| names.lines().map(str::to_owned).collect());
        found.channels = names.unwrap_or_default();
        let places = &axes.places[1..];
        let Some(rank) = self.sizes().ok().map(|sizes| sizes.len()) else { return Ok(found) };
        // The fields name the fastest axis first.
        let of_axis = |place: &Option<usize>| place.map(|axis| rank - 1 - axis);
        let units = self.field(&["space units", "units"]).unwrap_or_default();
        found.unit =
            units.split('"').filter(|unit| !unit.trim().is_empty()).find_map(LengthUnit::parse);
        // Of a space whose x and y grow to the right and the front, as NIfTI has it.
        let turned = match self.field(&["space"]).unwrap_or_default().to_ascii_lowercase().as_str()
        {
            "right-anterior-superior" | "ras" => [1.0, -1.0, -1.0],
            "left-anterior-superior" | "las" => [1.0, -1.0, 1.0],
            _ => [1.0; 3],
        };
        if let Some(text) = self.field(&["space directions"]) {
            let vectors = directions(text);
            let of_place = |place| {
                let [x, y, z] = of_axis(place).and_then(|axis| *vectors.get(axis)?)?;
                Some([z * turned[0], y * turned[1], x * turned[2]])
            };
            let along: Option<Vec<[f64; 3]>> = places.iter().map(of_place).collect();
            if let Some(along) = along {
                let spacing = [0, 1, 2].map(|axis| length(along[axis]));
                found.spacing = Some(spacing);
                found.directions =
                    Some([0, 1, 2].map(|axis| along[axis].map(|part| part / spacing[axis])));
            }
        } else if let Some(text) = self.field(&["spacings"]) {
            let numbers: Vec<Option<f64>> =
                text.split_whitespace().map(|number| number.parse().ok()).collect();
            let along =
                places.iter().map(|place| of_axis(place).and_then(|axis| *numbers.get(axis)?));
            let along: Option<Vec<f64>> = along.collect();
            // What is not known is written as NaN.
            found.spacing = along
                .and_then(|along| along.try_into().ok())
                .filter(|spacing: &[f64; 3]| !spacing.iter().any(|length| length.is_nan()));
        }
        if let Some(Some([x, y, z])) = self.field(&["space origin"]).map(vector) {
            found.origin = Some([z * turned[0], y * turned[1], x * turned[2]]);
        }
        Ok(found)
    }

    fn skip(&self, names: &[&str]) -> Result<i64> {
        match self.field(names) {
            None => Ok(0),
            Some(text) => text.parse().with_context(|| format!("`{}: {text}`", names[0])),
        }
    }

    /// Where the voxels are in a file whose data begin at a byte.
    fn place(
        &self,
        data: &InputFile,
        begin: u64,
        (dims, stored): (&[usize], StoredType),
        packed: bool,
    ) -> Result<(u64, Packing)> {
        let mut file = BufReader::new(Positioned { file: &data.file, position: begin });
        for _ in 0..self.skip(&["line skip", "lineskip"])? {
            line(&mut file)?.context("the file ends within `line skip`")?;
        }
        let begin = file.stream_position()?;
        let skip = self.skip(&["byte skip", "byteskip"])?;
        if !packed && skip == -1 {
            return Ok((at_the_end(data, dims, stored)?, Packing::Plain));
        }
        let skip = u64::try_from(skip).ok().context("`byte skip` is negative")?;
        Ok(match packed {
            true => (begin, Packing::Gzip { skip }),
            false => (begin.saturating_add(skip), Packing::Plain),
        })
    }
}

/// Whether what follows is a list of files with the data.
fn is_list(fields: &HashMap<String, String>) -> bool {
    ["data file", "datafile"]
        .iter()
        .any(|name| fields.get(*name).is_some_and(|file| file.starts_with("LIST")))
}

/// A text whose line ends and backslashes were written as `\\n` and `\\\\`.
pub(super) fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            _ => out.push(letter),
        }
    }
    out
}

/// The vectors of `space directions`, `None` where it says none.
fn directions(text: &str) -> Vec<Option<[f64; 3]>> {
    let text = text.replace(',', " , ").replace('(', " ( ").replace(')', " ) ");
    let mut vectors = Vec::new();
    let mut within: Option<String> = None;
    for word in text.split_whitespace() {
        match (word, &mut within) {
            ("(", _) => within = Some(String::new()),
            (")", Some(numbers)) => {
                vectors.push(vector(numbers));
                within = None;
            }
            (word, Some(numbers)) => numbers.push_str(word),
            (_, None) => vectors.push(None),
        }
    }
    vectors
}

/// A vector (x, y, z) written as `(0.5,0,0)`, with or without the parentheses.
fn vector(text: &str) -> Option<[f64; 3]> {
    let text = text.trim().trim_start_matches('(').trim_end_matches(')');
    let numbers: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    numbers?.try_into().ok()
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

/// The types of numbers that NRRD has, without blocks.
fn stored_type(name: &str) -> Option<StoredType> {
    Some(match name.to_ascii_lowercase().as_str() {
        "signed char" | "int8" | "int8_t" => StoredType::I8,
        "uchar" | "unsigned char" | "uint8" | "uint8_t" => StoredType::U8,
        "short" | "short int" | "signed short" | "signed short int" | "int16" | "int16_t" => {
            StoredType::I16
        }
        "ushort" | "unsigned short" | "unsigned short int" | "uint16" | "uint16_t" => {
            StoredType::U16
        }
        "int" | "signed int" | "int32" | "int32_t" => StoredType::I32,
        // `uin32` is how SegmentationTools.jl spells it.
        "uint" | "unsigned int" | "uint32" | "uint32_t" | "uin32" => StoredType::U32,
        "longlong"
        | "long long"
        | "long long int"
        | "signed long long"
        | "signed long long int"
        | "int64"
        | "int64_t" => StoredType::I64,
        "ulonglong" | "unsigned long long" | "unsigned long long int" | "uint64" | "uint64_t" => {
            StoredType::U64
        }
        "float" => StoredType::F32,
        "double" => StoredType::F64,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::VolumeReader;
    use std::fs;

    fn file(header: &str, data: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nrrd");
        fs::write(&path, [header.as_bytes(), data].concat()).unwrap();
        (folder, path)
    }

    fn read(path: &Path) -> Result<crate::volume::Volume> {
        open(path, &ReadOptions::default())?.0.read()
    }

    /// What is wrong with a file, without its name.
    fn message(header: &str, data: &[u8]) -> String {
        let (_folder, path) = file(header, data);
        let message = format!("{:#}", read(&path).unwrap_err());
        message.strip_prefix(&format!("{}: ", path.display())).unwrap().to_owned()
    }

    #[test]
    fn parts_of_packed_voxels_are_those_of_the_whole() {
        let header = "NRRD0004\ntype: ushort\nsizes: 4 3 2\nspace directions: (0.5,0,0) (0,0.3,0.4) (0,-1.6,1.2)\nendian: big\nbyte skip: 1\nencoding: gzip\n\n";
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let numbers: Vec<u8> = (0..24u16).flat_map(|n| (n * 300).to_be_bytes()).collect();
        std::io::Write::write_all(&mut packed, &[&[7], &numbers[..]].concat()).unwrap();
        let (_folder, path) = file(header, &packed.finish().unwrap());
        let (reader, _) = open(&path, &ReadOptions::default()).unwrap();
        let whole = reader.read().unwrap();
        assert_eq!(whole.clone().into_f32()[(0, 1, 2, 3)], 23.0 * 300.0);
        let window = crate::volume::Window::new([1, 0, 1], [1, 2, 3]);
        for _ in 0..2 {
            assert_eq!(reader.read_window(&window).unwrap(), whole.window(&window));
        }
        assert_eq!(reader.voxel_size(), Some([2.0, 0.5, 0.5]));
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
    fn a_fourth_axis_is_that_of_the_channels() {
        let header = "NRRD0004\ntype: uint8\nsizes: 2 1 2 3\nspace directions: (0.5,0,0) (0,1,0) (0,0,2) none\nkinds: domain domain domain RGB-color \nencoding: raw\n\n";
        let data: Vec<u8> = (0..12).collect();
        let (_folder, path) = file(header, &data);
        let (reader, _) = open(&path, &ReadOptions::default()).unwrap();
        let volume = reader.read().unwrap();
        assert_eq!(volume.shape(), [3, 2, 1, 2]);
        assert_eq!(volume.into_f32()[(2, 1, 0, 0)], 10.0);
        assert_eq!(reader.voxel_size(), Some([2.0, 1.0, 0.5]));
        let part = reader.read_part(1..2, &crate::volume::Window::new([1, 0, 0], [1, 1, 2]), 1);
        assert_eq!(part.unwrap().into_f32().into_raw_vec_and_offset().0, [6.0, 7.0]);
        // The first one is where other programs put them.
        let other =
            header.replace("domain domain domain RGB-color", "RGB-color domain domain domain");
        let other = other.replace("sizes: 2 1 2 3", "sizes: 3 2 1 2");
        let other = other.replace("(0,0,2) none", "(0,0,2)").replace("(0.5,0,0)", "none (0.5,0,0)");
        let (_folder, path) = file(&other, &data);
        let (reader, _) = open(&path, &ReadOptions::default()).unwrap();
        assert_eq!(reader.read().unwrap().into_f32()[(2, 1, 0, 0)], 8.0);
        let time = header.replace("RGB-color", "time");
        assert!(message(&time, &data).contains(":t=N"));
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
        assert!(message(PLAIN, &[1, 2]).starts_with("the data end after 2 of 6 bytes: "));
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
