//! Writing TIFF: a hyperstack of ImageJ's where ImageJ knows the type of numbers,
//! OME-TIFF for others, and for BigTIFF: above 4 GB, and where the extension asks for it.
//!
//! Pages are ordered by slice and, within a slice, by channel, as ImageJ wants it. All
//! directories stand at the beginning.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Result, bail};

use crate::format::headed::{self, Headed};
use crate::format::notes;
use crate::format::pack::{Packed, Packing, fits};
use crate::format::spool::{ChannelOrder, MayReplace, Rows, SpoolWriter, Spooled, SpooledVolume};
use crate::volume::{Compression, LengthUnit, StoredType, VolumeWriter};

/// The tag of our notes, one of those that are free for private use.
pub(super) const NOTES: u16 = 65_000;

/// Bytes of voxels from which on places in the file may need 64 bits: the rest is for
/// the directories.
const LARGE: usize = 0xf000_0000;

/// Bytes of a strip before it is compressed, about.
const STRIP: usize = 256 << 10;

pub(super) fn create(path: &Path, threads: usize) -> Result<Box<dyn VolumeWriter>> {
    SpoolWriter::create(path, threads, 1, finish)
}

fn finish(spooled: &Spooled, may_replace: MayReplace<'_>) -> Result<()> {
    let volume = spooled.volume()?;
    let layout = Layout::of(spooled, volume)?;
    let head = |packed: &Packed, checksum: &str| layout.head(spooled, volume, packed, checksum);
    let packing = match volume.compression {
        Compression::None => Packing::Plain,
        Compression::Gzip { level } => Packing::Zlib { level },
    };
    let headed = Headed {
        order: ChannelOrder::Apart,
        packing,
        pieces: layout.strips(volume.shape),
        head: &head,
        end: &|_, _| Vec::new(),
    };
    headed::write(spooled, volume, &headed, may_replace)
}

/// How a volume is laid out.
struct Layout {
    big: bool,
    /// Text that says what the pages are.
    description: String,
    /// Rows of a strip.
    rows: usize,
}

impl Layout {
    fn of(spooled: &Spooled, volume: &SpooledVolume) -> Result<Layout> {
        let name = spooled.target.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_ascii_lowercase();
        let big = volume.bytes() > LARGE || name.ends_with(".btf") || name.ends_with(".tf8");
        let wants_ome = name.ends_with(".ome.tif") || name.ends_with(".ome.tiff");
        let description = match volume.encoding.stored() {
            StoredType::U8 | StoredType::U16 | StoredType::F32 if !big && !wants_ome => {
                imagej(volume)
            }
            // Types that OME-XML does not know.
            StoredType::I64 | StoredType::U64 | StoredType::F16 => shaped(volume),
            _ => ome(volume)?,
        };
        let row = volume.shape[3] * volume.encoding.size();
        Ok(Layout { big, description, rows: (STRIP / row).clamp(1, volume.shape[2]) })
    }

    fn strips_a_page(&self, height: usize) -> usize {
        height.div_ceil(self.rows)
    }

    /// All strips in the order of the pages.
    fn strips(&self, [channels, d, h, _]: [usize; 4]) -> Vec<Rows> {
        let mut strips = Vec::new();
        for z in 0..d {
            for c in 0..channels {
                for y in (0..h).step_by(self.rows) {
                    let count = self.rows.min(h - y);
                    strips.push(Rows { first: (c * d + z) * h + y, count });
                }
            }
        }
        strips
    }

    /// Bytes of a place in the file.
    fn place(&self) -> usize {
        if self.big { 8 } else { 4 }
    }

    fn head(
        &self,
        spooled: &Spooled,
        volume: &SpooledVolume,
        packed: &Packed,
        checksum: &str,
    ) -> Result<Vec<u8>> {
        let [channels, d, h, _] = volume.shape;
        let a_page = self.strips_a_page(h);
        let notes = notes::write(spooled, volume, checksum);
        let start = if self.big { 16 } else { 8 };
        let texts = [self.description.as_str(), &notes].map(|text| {
            let mut bytes = text.as_bytes().to_vec();
            bytes.push(0);
            // What is put behind it begins at an even place.
            bytes.resize(bytes.len().next_multiple_of(16), 0);
            bytes
        });
        let first = start + texts[0].len() + texts[1].len();
        let places = [start, start + texts[0].len()];
        let pages = channels * d;
        let page_bytes = [true, false].map(|first| self.page_bytes(first, a_page));
        let length = first + page_bytes[0] + (pages - 1) * page_bytes[1];
        let mut out = Vec::with_capacity(length);
        out.extend(if self.big { &b"II+\0\x08\0\0\0"[..] } else { &b"II*\0"[..] });
        self.push_place(&mut out, first as u64)?;
        texts.iter().for_each(|text| out.extend(text));
        let lengths = [self.description.len() + 1, notes.len() + 1];
        for (page, strips) in packed.pieces.chunks(a_page).enumerate() {
            let is_first = page == 0;
            let next = out.len() + page_bytes[usize::from(!is_first)];
            let texts = is_first.then_some((places, lengths));
            let mut directory = Directory::new(self, out.len(), is_first, a_page);
            directory.fill(volume, texts, strips, length as u64)?;
            directory.finish(&mut out, if page + 1 < pages { next } else { 0 })?;
        }
        Ok(out)
    }

    /// Entries of the directory of a page.
    fn entries(&self, first: bool) -> usize {
        if first { 15 } else { 13 }
    }

    /// Bytes of a directory with the lists that belong to it.
    fn page_bytes(&self, first: bool, strips: usize) -> usize {
        let entry = if self.big { 20 } else { 12 };
        let count = if self.big { 8 } else { 2 };
        let lists = if strips > 1 { 2 * strips * self.place() } else { 0 };
        // Two resolutions of 8 bytes each.
        (count + self.entries(first) * entry + self.place()).next_multiple_of(8) + 16 + lists
    }

    fn push_place(&self, out: &mut Vec<u8>, place: u64) -> Result<()> {
        if self.big {
            out.extend(place.to_le_bytes());
        } else {
            match u32::try_from(place) {
                Ok(place) => out.extend(place.to_le_bytes()),
                Err(_) => bail!("it became larger than 4 GB: write it without compression"),
            }
        }
        Ok(())
    }
}

/// A directory while its entries are put together.
struct Directory<'a> {
    layout: &'a Layout,
    /// Where what is too long for an entry goes.
    lists_at: usize,
    bytes: Vec<u8>,
    lists: Vec<u8>,
}

const ASCII: u16 = 2;
const SHORT: u16 = 3;
const LONG: u16 = 4;
const RATIONAL: u16 = 5;
const LONG8: u16 = 16;

impl<'a> Directory<'a> {
    fn new(layout: &'a Layout, begin: usize, first: bool, strips: usize) -> Self {
        let entries = layout.entries(first);
        let lists = 16 + if strips > 1 { 2 * strips * layout.place() } else { 0 };
        let lists_at = begin + layout.page_bytes(first, strips) - lists;
        let mut bytes = Vec::new();
        if layout.big {
            bytes.extend((entries as u64).to_le_bytes());
        } else {
            bytes.extend((entries as u16).to_le_bytes());
        }
        Directory { layout, lists_at, bytes, lists: Vec::new() }
    }

    fn fill(
        &mut self,
        volume: &SpooledVolume,
        texts: Option<([usize; 2], [usize; 2])>,
        strips: &[(u64, u64)],
        first_strip: u64,
    ) -> Result<()> {
        let [_, _, h, w] = volume.shape;
        let stored = volume.encoding.stored();
        let compressed = volume.compression != Compression::None;
        let format = match stored {
            StoredType::F16 | StoredType::F32 | StoredType::F64 => 3,
            StoredType::I8 | StoredType::I16 | StoredType::I32 | StoredType::I64 => 2,
            _ => 1,
        };
        let [y, x] = resolution(volume);
        let places = strips.iter().map(|(place, _)| first_strip + place);
        self.short(256, LONG, fits::<u32>(w, "a row")?)?;
        self.short(257, LONG, fits::<u32>(h, "a column")?)?;
        self.short(258, SHORT, 8 * stored.size() as u32)?;
        self.short(259, SHORT, if compressed { 8 } else { 1 })?;
        self.short(262, SHORT, 1)?;
        if let Some((places, lengths)) = texts {
            self.far(270, ASCII, lengths[0], places[0])?;
        }
        self.places(273, places.collect())?;
        self.short(277, SHORT, 1)?;
        self.short(278, LONG, fits::<u32>(self.layout.rows, "a strip")?)?;
        self.places(279, strips.iter().map(|(_, length)| *length).collect())?;
        self.rational(282, x)?;
        self.rational(283, y)?;
        // No unit of the format's: that of the description.
        self.short(296, SHORT, 1)?;
        self.short(339, SHORT, format)?;
        if let Some((places, lengths)) = texts {
            self.far(NOTES, ASCII, lengths[1], places[1])?;
        }
        Ok(())
    }

    fn entry(&mut self, tag: u16, kind: u16, count: usize) {
        self.bytes.extend(tag.to_le_bytes());
        self.bytes.extend(kind.to_le_bytes());
        if self.layout.big {
            self.bytes.extend((count as u64).to_le_bytes());
        } else {
            self.bytes.extend((count as u32).to_le_bytes());
        }
    }

    /// One number of at most 32 bits.
    fn short(&mut self, tag: u16, kind: u16, value: u32) -> Result<()> {
        self.entry(tag, kind, 1);
        self.bytes.extend(value.to_le_bytes());
        if self.layout.big {
            self.bytes.extend([0; 4]);
        }
        Ok(())
    }

    /// What stands elsewhere.
    fn far(&mut self, tag: u16, kind: u16, count: usize, place: usize) -> Result<()> {
        self.entry(tag, kind, count);
        self.layout.push_place(&mut self.bytes, place as u64)
    }

    fn places(&mut self, tag: u16, places: Vec<u64>) -> Result<()> {
        let kind = if self.layout.big { LONG8 } else { LONG };
        if let [place] = places[..] {
            self.entry(tag, kind, 1);
            return self.layout.push_place(&mut self.bytes, place);
        }
        self.far(tag, kind, places.len(), self.lists_at + self.lists.len())?;
        places.iter().try_for_each(|place| self.layout.push_place(&mut self.lists, *place))
    }

    fn rational(&mut self, tag: u16, (numerator, denominator): (u32, u32)) -> Result<()> {
        let number = [numerator.to_le_bytes(), denominator.to_le_bytes()].concat();
        if self.layout.big {
            self.entry(tag, RATIONAL, 1);
            self.bytes.extend(number);
            // Its room among the lists stays empty.
            self.lists.extend([0; 8]);
        } else {
            self.far(tag, RATIONAL, 1, self.lists_at + self.lists.len())?;
            self.lists.extend(number);
        }
        Ok(())
    }

    fn finish(mut self, out: &mut Vec<u8>, next: usize) -> Result<()> {
        self.layout.push_place(&mut self.bytes, next as u64)?;
        out.extend(self.bytes);
        out.resize(self.lists_at, 0);
        out.extend(self.lists);
        Ok(())
    }
}

/// Pixels along y and x in a unit of length, as fractions.
fn resolution(volume: &SpooledVolume) -> [(u32, u32); 2] {
    let spacing = volume.calibration.spacing.unwrap_or([1.0; 3]);
    [spacing[1], spacing[2]].map(|size| fraction(1.0 / size))
}

/// A fraction that is as near to a positive number as numbers of 32 bits allow.
fn fraction(value: f64) -> (u32, u32) {
    if !(value > 1e-9 && value < 4e9) {
        return (1, 1);
    }
    // The convergents of its continued fraction.
    let (mut before, mut last) = ((0u64, 1u64), (1u64, 0u64));
    let mut rest = value;
    loop {
        let whole = rest.floor();
        let next = (whole as u64 * last.0 + before.0, whole as u64 * last.1 + before.1);
        if next.0 > u32::MAX.into() || next.1 > u32::MAX.into() {
            break;
        }
        (before, last) = (last, next);
        let exact = last.0 as f64 / last.1 as f64;
        if exact == value || rest - whole < 1e-12 {
            break;
        }
        rest = 1.0 / (rest - whole);
        if rest > 4e9 {
            break;
        }
    }
    (last.0.max(1) as u32, last.1.max(1) as u32)
}

/// The note by which ImageJ knows a hyperstack.
fn imagej(volume: &SpooledVolume) -> String {
    let [channels, slices, ..] = volume.shape;
    let mut note = format!(
        "ImageJ=1.54f\nimages={}\nchannels={channels}\nslices={slices}\nhyperstack=true\n\
         mode=grayscale\nloop=false\n",
        channels * slices
    );
    if let Some(spacing) = volume.calibration.spacing {
        let unit = match volume.calibration.unit {
            // What has no unit counts as micrometres.
            None | Some(LengthUnit::Micrometre) => "micron",
            Some(unit) => unit.symbol(),
        };
        // Writing to a text cannot fail.
        let _ = write!(note, "unit={unit}\nspacing={}\n", spacing[0]);
    }
    note
}

/// The note of tifffile's, which names the axes alone.
fn shaped(volume: &SpooledVolume) -> String {
    let [channels, d, h, w] = volume.shape;
    // Pages follow each other by slice, then by channel.
    match channels {
        1 => format!("{{\"shape\": [{d}, {h}, {w}], \"axes\": \"ZYX\"}}"),
        _ => format!("{{\"shape\": [{d}, {channels}, {h}, {w}], \"axes\": \"ZCYX\"}}"),
    }
}

fn ome(volume: &SpooledVolume) -> Result<String> {
    let [channels, d, h, w] = volume.shape;
    let kind = match volume.encoding.stored() {
        StoredType::F32 => "float",
        StoredType::F64 => "double",
        other => other.name(),
    };
    let space = &volume.calibration;
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <OME xmlns=\"http://www.openmicroscopy.org/Schemas/OME/2016-06\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
         xsi:schemaLocation=\"http://www.openmicroscopy.org/Schemas/OME/2016-06 \
         http://www.openmicroscopy.org/Schemas/OME/2016-06/ome.xsd\" Creator=\"unet3d\">\
         <Image ID=\"Image:0\" Name=\"{}\">\
         <Pixels ID=\"Pixels:0\" DimensionOrder=\"XYCZT\" Type=\"{kind}\" SizeX=\"{w}\" \
         SizeY=\"{h}\" SizeC=\"{channels}\" SizeZ=\"{d}\" SizeT=\"1\"",
        escaped(&volume.name)
    );
    let unit = match space.unit {
        None | Some(LengthUnit::Micrometre) => "&#181;m",
        Some(unit) => unit.symbol(),
    };
    if let Some(spacing) = space.spacing {
        for (axis, size) in ["Z", "Y", "X"].iter().zip(spacing) {
            write!(xml, " PhysicalSize{axis}=\"{size}\" PhysicalSize{axis}Unit=\"{unit}\"")?;
        }
    }
    xml.push('>');
    for channel in 0..channels {
        write!(xml, "<Channel ID=\"Channel:0:{channel}\" SamplesPerPixel=\"1\"")?;
        if space.channels.len() == channels {
            write!(xml, " Name=\"{}\"", escaped(&space.channels[channel]))?;
        }
        xml.push_str("/>");
    }
    let pages = channels * d;
    write!(xml, "<TiffData IFD=\"0\" PlaneCount=\"{pages}\"/>")?;
    if let Some(origin) = space.origin {
        xml.push_str("<Plane TheZ=\"0\" TheT=\"0\" TheC=\"0\"");
        for (axis, place) in ["Z", "Y", "X"].iter().zip(origin) {
            write!(xml, " Position{axis}=\"{place}\" Position{axis}Unit=\"{unit}\"")?;
        }
        xml.push_str("/>");
    }
    xml.push_str("</Pixels></Image></OME>");
    Ok(xml)
}

/// A text within an attribute of XML, in ASCII.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            letter if letter.is_ascii() && !letter.is_ascii_control() => out.push(letter),
            letter => out.push_str(&format!("&#{};", u32::from(letter))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolutions_are_near_fractions() {
        assert_eq!(fraction(10.0), (10, 1));
        assert_eq!(fraction(1.0 / 0.54), (50, 27));
        for size in [0.1, 0.162_5, 0.333_333, 1e-3, 123.456] {
            let (n, d) = fraction(1.0 / size);
            let back = f64::from(d) / f64::from(n);
            assert!((back - size).abs() <= 1e-9 * size, "{size} {n}/{d}");
        }
        assert_eq!((fraction(f64::INFINITY), fraction(0.0)), ((1, 1), (1, 1)));
    }
}
