//! Writing MetaImage: the header as text, the voxels as a zlib stream or plain behind it.

use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::{NOTES, UNIT};
use crate::format::headed::{self, Headed};
use crate::format::notes;
use crate::format::pack::{Packed, Packing, ZLIB};
use crate::format::spool::{ChannelOrder, MayReplace, SpoolWriter, Spooled, SpooledVolume};
use crate::volume::{StoredType, VolumeWriter};

/// Letters of the notes in a line, at most: ITK takes 500 of a field that it does not
/// know.
const LINE: usize = 400;

/// Begins a file.
///
/// # Errors
/// A folder that cannot be written to, and headers whose voxels are in another file.
pub(super) fn create(path: &Path, threads: usize) -> Result<Box<dyn VolumeWriter>> {
    ensure!(
        !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("mhd")),
        "{}: header and voxels are written as one file: name it .mha",
        path.display()
    );
    SpoolWriter::create(path, threads, 1, finish)
}

fn finish(spooled: &Spooled, may_replace: MayReplace<'_>) -> Result<()> {
    let volume = spooled.volume()?;
    let packing = Packing::in_one_stream(volume.compression);
    let zipped = packing != Packing::Plain;
    let head = |packed: &Packed, checksum: &str| {
        // The two bytes in front of the stream and the four behind it belong to it.
        let bytes = zipped.then_some(packed.bytes + 6);
        let mut head = header(spooled, volume, bytes, checksum)?.into_bytes();
        if zipped {
            head.extend(ZLIB);
        }
        Ok(head)
    };
    let end = |packed: &Packed, _: &str| {
        if zipped { packed.adler.value().to_be_bytes().to_vec() } else { Vec::new() }
    };
    let order = ChannelOrder::Together;
    let headed = Headed { order, packing, pieces: volume.pieces(order), head: &head, end: &end };
    headed::write(spooled, volume, &headed, may_replace)
}

/// Up to the voxels, of which there are `packed` bytes if they are compressed.
fn header(
    spooled: &Spooled,
    volume: &SpooledVolume,
    packed: Option<u64>,
    checksum: &str,
) -> Result<String> {
    let [channels, d, h, w] = volume.shape;
    let space = &volume.calibration;
    // Lists stand for x, y and z.
    let list = |[z, y, x]: [f64; 3]| format!("{x} {y} {z}");
    let mut lines = vec![
        "ObjectType = Image".to_owned(),
        "NDims = 3".to_owned(),
        "BinaryData = True".to_owned(),
        "BinaryDataByteOrderMSB = False".to_owned(),
    ];
    match packed {
        Some(bytes) => {
            lines.push("CompressedData = True".to_owned());
            lines.push(format!("CompressedDataSize = {bytes:020}"));
        }
        None => lines.push("CompressedData = False".to_owned()),
    }
    if let Some(directions) = space.directions {
        lines.push(format!(
            "TransformMatrix = {}",
            [2, 1, 0].map(|i| list(directions[i])).join(" ")
        ));
    } else {
        lines.push("TransformMatrix = 1 0 0 0 1 0 0 0 1".to_owned());
    }
    lines.push(format!("Offset = {}", list(space.origin.unwrap_or_default())));
    if let Some(spacing) = space.spacing {
        lines.push(format!("ElementSpacing = {}", list(spacing)));
    }
    lines.push(format!("DimSize = {w} {h} {d}"));
    if channels > 1 {
        lines.push(format!("ElementNumberOfChannels = {channels}"));
    }
    if let Some(unit) = space.unit {
        lines.push(format!("{UNIT} = {}", unit.symbol()));
    }
    let notes = notes::write(spooled, volume, checksum);
    for (number, part) in notes.as_bytes().chunks(LINE).enumerate() {
        lines.push(format!("{NOTES}{number} = \"{}\"", String::from_utf8_lossy(part)));
    }
    lines.push(format!("ElementType = {}", type_name(volume.encoding.stored())?));
    lines.push("ElementDataFile = LOCAL".to_owned());
    Ok(lines.join("\n") + "\n")
}

fn type_name(stored: StoredType) -> Result<&'static str> {
    Ok(match stored {
        StoredType::U8 => "MET_UCHAR",
        StoredType::I8 => "MET_CHAR",
        StoredType::U16 => "MET_USHORT",
        StoredType::I16 => "MET_SHORT",
        StoredType::U32 => "MET_UINT",
        StoredType::I32 => "MET_INT",
        StoredType::U64 => "MET_ULONG_LONG",
        StoredType::I64 => "MET_LONG_LONG",
        StoredType::F32 => "MET_FLOAT",
        StoredType::F64 => "MET_DOUBLE",
        StoredType::F16 => bail!("MetaImage has no float16 numbers: write float32"),
    })
}
