//! MetaImage volumes (`.mhd`, `.mha`), as ITK, 3D Slicer and elastix write them.
//!
//! The header is described at <https://itk.org/Wiki/ITK/MetaIO/Documentation>. Read are
//! volumes of one or more channels, plain or compressed, with their data in the same
//! file or beside it.

mod writer;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::files::InputFile;
use crate::format::Format;
use crate::format::axes::{AxisMap, ReadOptions};
use crate::format::notes::Notes;
use crate::format::raw_array::{self, Layout, Packing, RawArray, at_the_end, data_beside};
use crate::format::single::{Attributes, SingleVolume};
use crate::format::standing::of_single;
use crate::format::stored::StoredType;
use crate::volume::{Calibration, LengthUnit};

pub(super) static ENTRY: Format = Format {
    name: "MetaImage",
    meaning: "one volume, plain or compressed, its data in the file or beside it",
    extensions: &["mha", "mhd"],
    in_directories: true,
    recognises: |file| {
        let mut start = [0; 64];
        let read = file.read_at(&mut start, 0).unwrap_or(0);
        let start = String::from_utf8_lossy(&start[..read]);
        let key = start.split('=').next().unwrap_or_default().trim_end();
        start.contains('=') && ["ObjectType", "NDims"].contains(&key)
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

/// No header is longer than this in a file that is MetaImage.
const LONGEST_HEADER: u64 = 1 << 20;

fn open(path: &Path, options: &ReadOptions) -> Result<(RawArray, Attributes)> {
    raw_array::open(path, "a MetaImage file", |input| layout(input, options))
}

fn layout(input: InputFile, options: &ReadOptions) -> Result<(Layout, Attributes)> {
    let path = input.path.clone();
    let mut file = BufReader::new(&input.file).take(LONGEST_HEADER);
    let header = Header::read(&mut file)?;
    let stored = header.stored_type()?;
    let channels = header.channels()?;
    let (dims, names) = header.axes(channels)?;
    let axes = AxisMap::new(&names, &dims, options)?;
    let notes = header.notes();
    let calibration = header.calibration(&axes, dims.len(), channels > 1)?;
    let calibration = notes.complete(calibration, axes.shape[0]);
    let end = file.into_inner().stream_position()?;
    ensure!(!header.is("BinaryData", false), "its data are text: save it with binary data");
    let name = header.required("ElementDataFile")?;
    let (data, begin) = match name {
        "LOCAL" => (input, end),
        _ => (data_beside(&path, name, &format!("ElementDataFile = {name}"))?, 0),
    };
    let compressed = header.is("CompressedData", true);
    let offset = match header.number("HeaderSize")? {
        None => begin,
        Some(-1) if !compressed => at_the_end(&data, &dims, stored)?,
        Some(size) => begin + u64::try_from(size).ok().context("`HeaderSize` is negative")?,
    };
    let layout = Layout {
        path,
        data,
        offset,
        dims,
        axes,
        stored,
        big_endian: header.is("BinaryDataByteOrderMSB", true)
            || header.is("ElementByteOrderMSB", true),
        packing: if compressed { Packing::Zlib } else { Packing::Plain },
        scale: None,
        calibration,
    };
    Ok((layout, notes.texts))
}

/// Key of ours: the unit of lengths.
const UNIT: &str = "unit";

/// What the keys of the lines of our notes begin with. Their numbers follow.
const NOTES: &str = "unet3d_";

struct Header {
    fields: HashMap<String, String>,
}

impl Header {
    /// Reads up to `ElementDataFile`, which is the last field.
    fn read(file: &mut impl BufRead) -> Result<Header> {
        let mut fields = HashMap::new();
        loop {
            let mut line = Vec::new();
            let read = file.read_until(b'\n', &mut line)?;
            ensure!(read > 0, "its header ends without `ElementDataFile`: the file is damaged");
            let line = String::from_utf8_lossy(&line);
            let Some((key, value)) = line.split_once('=') else {
                // Text has no such bytes: the voxels have begun.
                ensure!(
                    !line.contains('\0'),
                    "its header ends without `ElementDataFile`: the file is damaged"
                );
                ensure!(line.trim().is_empty(), "the header has a line without `=`: {line:?}");
                continue;
            };
            let key = key.trim().to_owned();
            let last = key == "ElementDataFile";
            fields.insert(key, value.trim().to_owned());
            if last {
                return Ok(Header { fields });
            }
        }
    }

    fn field(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.fields.get(*name)).map(String::as_str)
    }

    fn required(&self, name: &str) -> Result<&str> {
        self.field(&[name]).with_context(|| format!("the header has no `{name}`"))
    }

    /// The notes, whose lines are put together.
    fn notes(&self) -> Notes {
        let lines = (0..).map_while(|number| self.fields.get(&format!("{NOTES}{number}")));
        // Quotation marks keep spaces at the ends.
        let content = |line: &String| -> Option<String> {
            Some(line.strip_prefix('"')?.strip_suffix('"')?.to_owned())
        };
        let text: String = lines.filter_map(content).collect();
        Notes::parse(&text).unwrap_or_default()
    }

    fn is(&self, name: &str, wanted: bool) -> bool {
        self.field(&[name])
            .is_some_and(|value| value.eq_ignore_ascii_case(if wanted { "true" } else { "false" }))
    }

    fn number(&self, name: &str) -> Result<Option<i64>> {
        let Some(text) = self.field(&[name]) else { return Ok(None) };
        text.parse().map(Some).with_context(|| format!("`{name} = {text}`"))
    }

    /// Numbers of a field that stand along the axes, the fastest first.
    fn numbers(&self, names: &[&str]) -> Result<Option<Vec<f64>>> {
        let Some(text) = self.field(names) else { return Ok(None) };
        let numbers: Result<Vec<f64>, _> = text.split_whitespace().map(str::parse).collect();
        numbers.map(Some).with_context(|| format!("`{} = {text}`", names[0]))
    }

    fn channels(&self) -> Result<usize> {
        let channels = self.number("ElementNumberOfChannels")?.unwrap_or(1);
        usize::try_from(channels)
            .ok()
            .filter(|n| *n > 0)
            .with_context(|| format!("`ElementNumberOfChannels = {channels}`"))
    }

    /// Lengths and names of the axes, the slowest first. The channels of a voxel stand
    /// together.
    fn axes(&self, channels: usize) -> Result<(Vec<usize>, String)> {
        let text = self.required("DimSize")?;
        let sizes: Result<Vec<usize>, _> = text.split_whitespace().rev().map(str::parse).collect();
        let mut dims = sizes.with_context(|| format!("`DimSize = {text}`"))?;
        if let Some(rank) = self.number("NDims")? {
            ensure!(rank == dims.len() as i64, "`NDims = {rank}`, and `DimSize = {text}`");
        }
        ensure!(!dims.contains(&0), "it is empty (`DimSize = {text}`)");
        let mut names = match dims.len() {
            2 => "yx",
            3 => "zyx",
            4 => "tzyx",
            n => bail!("it has {n} axes (`DimSize = {text}`): three are needed"),
        }
        .to_owned();
        if channels > 1 {
            dims.push(channels);
            names.push('c');
        }
        Ok((dims, names))
    }

    fn stored_type(&self) -> Result<StoredType> {
        let name = self.required("ElementType")?;
        Ok(match name.strip_suffix("_ARRAY").unwrap_or(name) {
            "MET_CHAR" => StoredType::I8,
            "MET_UCHAR" => StoredType::U8,
            "MET_SHORT" => StoredType::I16,
            "MET_USHORT" => StoredType::U16,
            "MET_INT" | "MET_LONG" => StoredType::I32,
            "MET_UINT" | "MET_ULONG" => StoredType::U32,
            "MET_LONG_LONG" => StoredType::I64,
            "MET_ULONG_LONG" => StoredType::U64,
            "MET_FLOAT" => StoredType::F32,
            "MET_DOUBLE" => StoredType::F64,
            _ => bail!("`ElementType = {name}` is not read: save it as numbers of 8 to 64 bits"),
        })
    }

    /// What the header says of space. Its lists stand for x, y, z, …, without channels.
    fn calibration(&self, axes: &AxisMap, rank: usize, channels: bool) -> Result<Calibration> {
        let rank = rank - usize::from(channels);
        // Of z, y and x, where in the lists they stand.
        let places: Option<Vec<usize>> = axes.places[1..]
            .iter()
            .map(|axis| axis.and_then(|axis| (rank - 1).checked_sub(axis)))
            .collect();
        let Some(places) = places else { return Ok(Calibration::default()) };
        let pick = |numbers: &[f64]| -> Option<[f64; 3]> {
            let picked: Option<Vec<f64>> =
                places.iter().map(|at| numbers.get(*at).copied()).collect();
            picked?.try_into().ok()
        };
        let along = |names: &[&str]| -> Result<Option<[f64; 3]>> {
            Ok(self.numbers(names)?.and_then(|numbers| pick(&numbers)))
        };
        let matrix = self.numbers(&["TransformMatrix", "Rotation", "Orientation"])?;
        let directions = matrix.filter(|matrix| matrix.len() == rank * rank).and_then(|matrix| {
            let rows: Option<Vec<[f64; 3]>> =
                places.iter().map(|at| pick(&matrix[at * rank..(at + 1) * rank])).collect();
            rows?.try_into().ok()
        });
        Ok(Calibration {
            spacing: along(&["ElementSpacing", "ElementSize"])?,
            unit: self.field(&[UNIT]).and_then(LengthUnit::parse),
            origin: along(&["Offset", "Position", "Origin"])?,
            directions,
            channels: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::VolumeReader;
    use std::fs;

    const HEADER: &str = "ObjectType = Image\nNDims = 3\nBinaryData = True\n\
        BinaryDataByteOrderMSB = False\nElementSpacing = 1 2 3\nDimSize = 3 2 1\n\
        ElementType = MET_UCHAR\nElementDataFile = LOCAL\n";

    fn read(header: &str, data: &[u8]) -> Result<crate::volume::Volume> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mha");
        fs::write(&path, [header.as_bytes(), data].concat()).unwrap();
        open(&path, &ReadOptions::default())?.0.read()
    }

    #[test]
    fn channels_of_a_voxel_stand_together() {
        let header = HEADER.replace("ElementType", "ElementNumberOfChannels = 2\nElementType");
        let volume = read(&header, &(0..12).collect::<Vec<u8>>()).unwrap();
        assert_eq!(volume.shape(), [2, 1, 2, 3]);
        let values = volume.into_f32();
        assert_eq!((values[(0, 0, 1, 0)], values[(1, 0, 1, 2)]), (6.0, 11.0));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let message = |from: &str, to: &str| {
            format!("{:#}", read(&HEADER.replace(from, to), &[0; 6]).unwrap_err())
        };
        assert!(message("3 2 1", "3 2 2").contains("end after 6 of 12 bytes"));
        assert!(message("3 2 1", "3 0 1").contains("empty"));
        assert!(message("3 2 1", "3 2").contains("NDims = 3"));
        assert!(message("MET_UCHAR", "MET_STRING").contains("MET_STRING"));
        assert!(message("LOCAL", "LIST").contains("several files"));
        assert!(message("LOCAL", "nowhere.raw").contains("nowhere.raw"));
        assert!(message("1 2 3", "1 0 3").contains("voxel size"));
        assert!(message("ElementDataFile = LOCAL\n", "").contains("ends without"));
    }
}
