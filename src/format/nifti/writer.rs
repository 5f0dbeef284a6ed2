//! Writing NIfTI-1, or NIfTI-2 where an axis is longer than 32,767 voxels.

use std::path::Path;

use anyhow::{Result, ensure};

use super::SIZES;
use crate::format::headed::{self, Headed};
use crate::format::notes;
use crate::format::pack::{GZIP, Packed, Packing, fits, gzip_end, stored_blocks};
use crate::format::spool::{ChannelOrder, MayReplace, SpoolWriter, Spooled, SpooledVolume};
use crate::volume::{Compression, Encoding, LengthUnit, StoredType, VolumeWriter};

/// The code of extensions that are a text.
const COMMENT: i32 = 6;

/// Begins a file. The extension `.nii.gz` asks for compression, as every program that
/// reads NIfTI wants it, and `.nii` for none.
///
/// # Errors
/// A folder that cannot be written to, and headers whose voxels are in another file.
pub(super) fn create(path: &Path, threads: usize) -> Result<Box<dyn VolumeWriter>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    ensure!(
        !name.ends_with(".hdr"),
        "{}: header and voxels are written as one file: name it .nii or .nii.gz",
        path.display()
    );
    SpoolWriter::create(path, threads, 1, if name.ends_with(".gz") { zipped } else { plain })
}

fn plain(spooled: &Spooled, may_replace: MayReplace<'_>) -> Result<()> {
    let volume = spooled.volume()?;
    let head = |_: &Packed, checksum: &str| header(spooled, volume, checksum);
    let order = ChannelOrder::Apart;
    let (packing, pieces) = (Packing::Plain, volume.pieces(order));
    let headed = Headed { order, packing, pieces, head: &head, end: &|_, _| Vec::new() };
    headed::write(spooled, volume, &headed, may_replace)
}

fn zipped(spooled: &Spooled, may_replace: MayReplace<'_>) -> Result<()> {
    let volume = spooled.volume()?;
    let level = match volume.compression {
        Compression::Gzip { level } => level,
        // The name asks for gzip: its fastest.
        Compression::None => 1,
    };
    // The header stands uncompressed at the start of the stream, where it can still be
    // changed when the voxels are there.
    let head = |_: &Packed, checksum: &str| {
        Ok([&GZIP[..], &stored_blocks(&header(spooled, volume, checksum)?)].concat())
    };
    let end = |packed: &Packed, checksum: &str| {
        gzip_end(&header(spooled, volume, checksum).unwrap_or_default(), packed)
    };
    let order = ChannelOrder::Apart;
    let (packing, pieces) = (Packing::Deflate { level }, volume.pieces(order));
    let headed = Headed { order, packing, pieces, head: &head, end: &end };
    headed::write(spooled, volume, &headed, may_replace)
}

/// The fields of a header of one of the versions.
struct Fields {
    bytes: Vec<u8>,
    second: bool,
}

impl Fields {
    fn put(&mut self, at: [usize; 2], value: &[u8]) {
        let at = at[usize::from(self.second)];
        self.bytes[at..at + value.len()].copy_from_slice(value);
    }

    fn short(&mut self, at: [usize; 2], value: i16) {
        self.put(at, &value.to_le_bytes());
    }

    /// A code, which is of 16 bits in the first version and 32 in the second.
    fn code(&mut self, at: [usize; 2], value: i16) {
        match self.second {
            false => self.put(at, &value.to_le_bytes()),
            true => self.put(at, &i32::from(value).to_le_bytes()),
        }
    }

    /// The `i`-th of a list of numbers, float32 in the first version and float64 in the
    /// second.
    fn float(&mut self, [first, second]: [usize; 2], i: usize, value: f64) {
        match self.second {
            false => self.put([first + 4 * i, 0], &(value as f32).to_le_bytes()),
            true => self.put([0, second + 8 * i], &value.to_le_bytes()),
        }
    }
}

/// Header and notes, as long as a multiple of 16 bytes.
fn header(spooled: &Spooled, volume: &SpooledVolume, checksum: &str) -> Result<Vec<u8>> {
    let [channels, d, h, w] = volume.shape;
    let second = [channels, d, h, w].iter().any(|n| i16::try_from(*n).is_err());
    let size = SIZES[usize::from(second)];
    let mut fields = Fields { bytes: vec![0; size], second };
    fields.put([0, 0], &u32::try_from(size)?.to_le_bytes());
    // x, y, z, time and the numbers of a vector.
    let rank = if channels > 1 { 5 } else { 3 };
    for (i, n) in [rank, w, h, d, 1, channels, 1, 1].into_iter().enumerate() {
        match second {
            false => fields.put([40 + 2 * i, 0], &fits::<i16>(n, "an axis")?.to_le_bytes()),
            true => fields.put([0, 16 + 8 * i], &fits::<i64>(n, "an axis")?.to_le_bytes()),
        }
    }
    if channels > 1 {
        // NIFTI_INTENT_VECTOR
        fields.code([68, 504], 1007);
    }
    fields.short([70, 12], type_code(volume.encoding.stored())?);
    fields.short([72, 14], fits::<i16>(8 * volume.encoding.size(), "bits")?);
    let slope = match volume.encoding {
        Encoding::ScaledUint8 => 1.0 / 255.0,
        Encoding::Number(_) => 1.0,
    };
    fields.float([112, 176], 0, slope);
    space(&mut fields, volume);
    let mut notes = notes::write(spooled, volume, checksum).into_bytes();
    // Length and code of the extension, and four bytes that say that there is one.
    let begin = (size + 4 + 8 + notes.len()).next_multiple_of(16);
    notes.resize(begin - size - 4 - 8, 0);
    match second {
        false => fields.put([108, 0], &(begin as f32).to_le_bytes()),
        true => fields.put([0, 168], &i64::try_from(begin)?.to_le_bytes()),
    }
    fields.put([344, 4], if second { &b"n+2\0\r\n\x1a\n"[..] } else { b"n+1\0" });
    let mut bytes = fields.bytes;
    bytes.extend([1, 0, 0, 0]);
    bytes.extend(u32::try_from(begin - size - 4)?.to_le_bytes());
    bytes.extend(COMMENT.to_le_bytes());
    bytes.extend(notes);
    Ok(bytes)
}

/// Where the voxels lie. The space of NIfTI has x to the right and y to the front, that
/// of a calibration the other way round.
fn space(fields: &mut Fields, volume: &SpooledVolume) {
    let unit = volume.calibration.unit.map(|unit| match unit {
        // The units there are.
        LengthUnit::Nanometre | LengthUnit::Micrometre => LengthUnit::Micrometre,
        LengthUnit::Millimetre | LengthUnit::Centimetre => LengthUnit::Millimetre,
        LengthUnit::Metre => LengthUnit::Metre,
    });
    let calibration = match unit {
        Some(unit) => volume.calibration.in_unit(unit),
        None => volume.calibration.clone(),
    };
    let code = match unit {
        Some(LengthUnit::Metre) => 1,
        Some(LengthUnit::Millimetre) => 2,
        Some(_) => 3,
        None => 0,
    };
    match fields.second {
        false => fields.put([123, 0], &[code]),
        true => fields.put([0, 500], &i32::from(code).to_le_bytes()),
    }
    let spacing = calibration.spacing.unwrap_or([1.0; 3]);
    for (i, size) in
        [1.0, spacing[2], spacing[1], spacing[0], 1.0, 1.0, 1.0, 1.0].into_iter().enumerate()
    {
        fields.float([76, 104], i, size);
    }
    let Some(_) = calibration.spacing.or(calibration.origin) else { return };
    let directions =
        calibration.directions.unwrap_or([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
    let origin = calibration.origin.unwrap_or_default();
    // NIFTI_XFORM_SCANNER_ANAT
    fields.code([254, 348], 1);
    // Rows x, y and z of space; columns x, y and z of the volume.
    for (row, (part, sign)) in [(2, -1.0), (1, -1.0), (0, 1.0)].into_iter().enumerate() {
        let place = [280 + 16 * row, 400 + 32 * row];
        for (column, axis) in [2, 1, 0].into_iter().enumerate() {
            let value = sign * directions[axis][part] * spacing[axis];
            // Not -0.
            fields.float(place, column, value + 0.0);
        }
        fields.float(place, 3, sign * origin[part] + 0.0);
    }
}

fn type_code(stored: StoredType) -> Result<i16> {
    Ok(match stored {
        StoredType::U8 => 2,
        StoredType::I16 => 4,
        StoredType::I32 => 8,
        StoredType::F32 => 16,
        StoredType::F64 => 64,
        StoredType::I8 => 256,
        StoredType::U16 => 512,
        StoredType::U32 => 768,
        StoredType::I64 => 1024,
        StoredType::U64 => 1280,
        StoredType::F16 => anyhow::bail!("NIfTI has no float16 numbers: write float32"),
    })
}
