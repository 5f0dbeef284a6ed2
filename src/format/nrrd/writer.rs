//! Writing NRRD: the header as text, the voxels gzipped or plain behind it.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::format::headed::{self, Headed};
use crate::format::notes::{CHECKSUM, VOLUME};
use crate::format::pack::{GZIP, Packed, Packing, gzip_end};
use crate::format::spool::{ChannelOrder, MayReplace, SpoolWriter, Spooled, SpooledVolume};
use crate::volume::{LengthUnit, StoredType, VolumeWriter};

use super::CHANNELS;

/// Begins a file.
///
/// # Errors
/// A folder that cannot be written to, and headers whose voxels are in another file.
pub(super) fn create(path: &Path, threads: usize) -> Result<Box<dyn VolumeWriter>> {
    ensure!(
        !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("nhdr")),
        "{}: header and voxels are written as one file: name it .nrrd",
        path.display()
    );
    SpoolWriter::create(path, threads, 1, finish)
}

fn finish(spooled: &Spooled, may_replace: MayReplace<'_>) -> Result<()> {
    let volume = spooled.volume()?;
    let packing = Packing::in_one_stream(volume.compression);
    let zipped = packing != Packing::Plain;
    let head = |_: &Packed, checksum: &str| {
        let mut bytes = header(spooled, volume, zipped, checksum).into_bytes();
        if zipped {
            bytes.extend(GZIP);
        }
        Ok(bytes)
    };
    let end = |packed: &Packed, _: &str| {
        if zipped { gzip_end(&[], packed) } else { Vec::new() }
    };
    // Voxels that belong together stand together, as SimpleITK and ITK-SNAP read them.
    let order = ChannelOrder::Together;
    let pieces = volume.pieces(order);
    let headed = Headed { order, packing, pieces, head: &head, end: &end };
    headed::write(spooled, volume, &headed, may_replace)
}

/// Up to the empty line that the voxels follow.
fn header(spooled: &Spooled, volume: &SpooledVolume, zipped: bool, checksum: &str) -> String {
    let [channels, d, h, w] = volume.shape;
    let several = channels > 1;
    let space = &volume.calibration;
    let mut lines = vec![
        "NRRD0005".to_owned(),
        "# Complete NRRD file format specification at:".to_owned(),
        "# http://teem.sourceforge.net/nrrd/format.html".to_owned(),
        format!("type: {}", type_name(volume.encoding.stored())),
        format!("dimension: {}", if several { 4 } else { 3 }),
    ];
    let in_front = |text: &str| if several { format!("{text} ") } else { String::new() };
    let vector = |[z, y, x]: [f64; 3]| format!("({x},{y},{z})");
    if space.spacing.is_some() || space.origin.is_some() || space.directions.is_some() {
        lines.push("space: left-posterior-superior".to_owned());
        let spacing = space.spacing.unwrap_or([1.0; 3]);
        let along = space.directions.unwrap_or(UNIT_VECTORS);
        let along = [2, 1, 0].map(|axis| vector(along[axis].map(|part| part * spacing[axis])));
        lines.push(format!("space directions: {}{}", in_front("none"), along.join(" ")));
        lines.push(format!("space origin: {}", vector(space.origin.unwrap_or_default())));
        if let Some(unit) = space.unit {
            let unit = match unit {
                LengthUnit::Micrometre => "microns",
                other => other.symbol(),
            };
            lines.push(format!("space units: \"{unit}\" \"{unit}\" \"{unit}\""));
        }
    }
    let channel_size = if several { format!("{channels} ") } else { String::new() };
    lines.push(format!("sizes: {channel_size}{w} {h} {d}"));
    lines.push(format!("kinds: {}domain domain domain", in_front("vector")));
    lines.push("endian: little".to_owned());
    lines.push(format!("encoding: {}", if zipped { "gzip" } else { "raw" }));
    lines.push(format!("{CHECKSUM}:={checksum}"));
    lines.push(format!("{VOLUME}:={}", escaped(&volume.name)));
    if !space.channels.is_empty() {
        lines.push(format!("{CHANNELS}:={}", escaped(&space.channels.join("\n"))));
    }
    for (name, text) in spooled.texts() {
        lines.push(format!("{name}:={}", escaped(&text)));
    }
    lines.join("\n") + "\n\n"
}

const UNIT_VECTORS: [[f64; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

/// A text without line ends, the reverse of [`super::unescaped`].
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "")
}

fn type_name(stored: StoredType) -> &'static str {
    match stored {
        StoredType::F32 => "float",
        StoredType::F64 => "double",
        other => other.name(),
    }
}
