//! TIFF stacks of grey pages: TIFF and BigTIFF, plain, of ImageJ and OME-TIFF.
//!
//! Pages are slices or channels as the metadata say, or slices where they say nothing.

mod lone_tile;
mod ome;
mod stack;
mod writer;

use std::fs::File;
use std::io::BufReader;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail, ensure};
use ndarray::{Array4, ArrayViewMut2, Axis};
use tiff::TiffError;
use tiff::decoder::ifd::Value;
use tiff::decoder::{Decoder, Limits};
use tiff::tags::{ByteOrder, SampleFormat, Tag};

use self::stack::{FirstPage, Stack};
use super::Format;
use super::axes::{AxisMap, ReadOptions};
use super::by_tiles::{PLANES, read_by_tiles};
use super::contiguous::Contiguous;
use super::notes::Notes;
use super::positioned::Positioned;
use super::raw_array::cut_off;
use super::single::{Attributes, SingleVolume};
use super::standing::of_single;
use super::stored::{Stored, StoredType, with_stored};
use crate::files::InputFile;
use crate::runtime::memory;
use crate::volume::{Calibration, Volume, VolumeReader, Window};

pub(super) static ENTRY: Format = Format {
    name: "TIFF",
    meaning: "one volume, its pages slices or channels as ImageJ or OME-XML note it",
    extensions: &["tif", "tiff", "ome.tif", "ome.tiff", "btf", "tf8"],
    in_directories: true,
    recognises: |file| {
        let mut start = [0; 4];
        file.read_exact_at(&mut start, 0).is_ok()
            && [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"].contains(&&start)
    },
    is_store: |_| false,
    open: |path, options| {
        let (reader, texts) = TiffReader::open(path, options)?;
        Ok(SingleVolume::boxed(reader, texts))
    },
    create: Some(writer::create),
    create_blocks: None,
    shared: None,
    holds: |_| true,
    most_volumes: 1,
    standing: of_single,
};

/// Bytes of a list in a directory, such as that of the strips of a page, at most.
const LONGEST_LIST: usize = 256 << 20;

/// Strips of so many bytes are read before it is asked whether they can be true.
const HARMLESS: u128 = 1 << 20;

type PageDecoder = Decoder<BufReader<Positioned<Arc<File>>>>;

/// A stack of grey pages, opened and not read yet.
struct TiffReader {
    input: InputFile,
    /// The same file for the decoders.
    file: Arc<File>,
    page: PageLayout,
    stack: Stack,
    /// Height and width of the strips or tiles of the first page.
    chunk: [usize; 2],
    /// Which axes of the stack, followed by y and x, are those of the volume.
    axes: AxisMap,
    /// Where the voxels are if only the first page stands in the directory.
    beyond: Option<Contiguous>,
    /// Decoders that nobody works with. Each remembers where the pages are.
    idle: Mutex<Vec<PageDecoder>>,
}

/// What all pages have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PageLayout {
    height: usize,
    width: usize,
    stored: StoredType,
    /// Bits of a number: 1, 2 and 4 for several pixels in a byte.
    bits: u8,
    /// Whether white is zero. The numbers are read as they are stored.
    inverted: bool,
}

impl std::fmt::Debug for TiffReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TiffReader")
            .field("input", &self.input)
            .field("page", &self.page)
            .field("stack", &self.stack)
            .finish_non_exhaustive()
    }
}

impl TiffReader {
    fn open(path: &Path, options: &ReadOptions) -> Result<(TiffReader, Attributes)> {
        let input = InputFile::open(path, "a TIFF file")?;
        let name = input.path.display().to_string();
        TiffReader::of(input, options).map_err(explained).context(name)
    }

    fn of(input: InputFile, options: &ReadOptions) -> Result<(TiffReader, Attributes)> {
        let file = Arc::new(input.file.try_clone()?);
        let mut decoder = decoder(&file)?;
        let note = match decoder.find_tag(Tag::ImageDescription) {
            Ok(note) => note.and_then(|note| note.into_string().ok()).unwrap_or_default(),
            // Without it, pages would pass for slices that are channels.
            Err(TiffError::IoError(_)) => bail!(
                "the note that says what its pages are (ImageDescription) is cut off: the file is \
                 damaged or was not copied completely"
            ),
            Err(_) => String::new(),
        };
        let notes = decoder.get_tag_ascii_string(Tag::Unknown(writer::NOTES)).ok();
        let notes = notes.and_then(|text| Notes::parse(&text)).unwrap_or_default();
        let first = first_page(&mut decoder);
        let page = PageLayout::of(&mut decoder).context("page 0")?;
        let (chunk_width, chunk_height) = decoder.chunk_dimensions();
        let chunk = [chunk_height as usize, chunk_width as usize];
        let strips = decoder.find_tag_unsigned_vec::<u64>(Tag::StripOffsets).ok().flatten();
        let compression = decoder.find_tag_unsigned::<u16>(Tag::Compression)?;
        page.ensure_possible(chunk, compression, input.size).context("page 0")?;
        let mut pages = 1;
        while decoder.more_images() {
            let damaged = || format!("page {pages} (the first is page 0)");
            decoder.next_image().with_context(damaged)?;
            let other = PageLayout::of(&mut decoder).with_context(damaged)?;
            ensure!(
                (other.height, other.width) == (page.height, page.width),
                "page {pages} is {} × {} pixels large, the first one {} × {}: save images of \
                 several sizes as files of their own",
                other.width,
                other.height,
                page.width,
                page.height
            );
            ensure!(
                other.stored == page.stored && other.bits == page.bits,
                "page {pages} has another type of numbers than the first: save all pages as one type"
            );
            pages += 1;
        }
        let stack = Stack::of(&note, pages, first)?;
        let names = format!("{}yx", stack.axes);
        let dims: Vec<usize> =
            stack.dims.iter().copied().chain([page.height, page.width]).collect();
        // What a user says of the axes leaves out those of length 1.
        let (names, dims): (String, Vec<usize>) = match &options.axes {
            Some(axes) if axes.len() != dims.len() => {
                let named = names.chars().zip(dims.iter().copied());
                let long = |(name, length): &(char, usize)| *length > 1 || "yx".contains(*name);
                let (names, mut dims): (String, Vec<usize>) = named.filter(long).unzip();
                let missing = axes.len().saturating_sub(dims.len());
                dims.splice(0..0, std::iter::repeat_n(1, missing));
                (names, dims)
            }
            _ => (names, dims),
        };
        let stack = Stack { dims: dims[..dims.len() - 2].to_vec(), ..stack };
        let axes = AxisMap::new(&names, &dims, options)?;
        ensure!(
            axes.places[2] == Some(dims.len() - 2) && axes.places[3] == Some(dims.len() - 1),
            "the last axes of TIFF files are y and x"
        );
        let channels = axes.shape[0];
        let calibration = notes.complete(stack.calibration.clone(), channels);
        let stack = Stack { calibration, ..stack };
        stack.calibration.check()?;
        let beyond = match (stack.one_directory, strips.as_deref(), compression) {
            (false, ..) => None,
            (true, Some(&[offset, ..]), None | Some(1)) => {
                let (strides, first) = axes.strides(&dims);
                let size = page.stored.size();
                let bytes = dims.iter().product::<usize>() as u64 * size as u64;
                let there = input.size.saturating_sub(offset);
                ensure!(there >= bytes, "{}", cut_off(there, bytes));
                let offset = offset + (first * size) as u64;
                let big_endian = decoder.byte_order() == ByteOrder::BigEndian;
                Some(Contiguous { offset, strides, big_endian })
            }
            _ => bail!("only one of its pages is in the file: save it as BigTIFF or OME-TIFF"),
        };
        let idle = Mutex::new(vec![decoder]);
        let reader = TiffReader { input, file, page, stack, chunk, axes, beyond, idle };
        Ok((reader, notes.texts))
    }

    /// The number of the page of a channel and a slice.
    fn page_of(&self, channel: usize, z: usize) -> usize {
        let mut place = self.axes.fixed.clone();
        for (axis, index) in self.axes.places.into_iter().zip([channel, z]) {
            if let Some(axis) = axis {
                place[axis] = index;
            }
        }
        let dims = &self.stack.dims;
        let number = dims.iter().zip(&place).fold(0, |number, (length, i)| number * length + i);
        self.stack.pages.as_ref().map_or(number, |pages| pages[number])
    }

    /// Works with a decoder that nobody else works with.
    fn with_decoder<T>(&self, work: impl FnOnce(&mut PageDecoder) -> Result<T>) -> Result<T> {
        let idle = || self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let known = idle().pop();
        let mut decoder = match known {
            Some(decoder) => decoder,
            None => decoder(&self.file)?,
        };
        let result = work(&mut decoder)?;
        idle().push(decoder);
        Ok(result)
    }

    /// Fills `out` with the part of a page that begins at row `y` and column `x`.
    fn read_page<S: Stored>(
        &self,
        page: usize,
        [y, x]: [usize; 2],
        scratch: &mut Vec<u8>,
        mut out: ArrayViewMut2<'_, S::Memory>,
    ) -> Result<()> {
        let (height, width) = out.dim();
        let mut numbers = Vec::new();
        let read = |decoder: &mut PageDecoder| -> Result<()> {
            decoder.seek_to_image(page)?;
            let (chunk_width, chunk_height) = decoder.chunk_dimensions();
            let (ch, cw) = (chunk_height as usize, chunk_width as usize);
            ensure!(ch > 0 && cw > 0, "its strips are empty");
            let across = self.page.width.div_ceil(cw);
            for row in y / ch..(y + height).div_ceil(ch) {
                for column in x / cw..(x + width).div_ceil(cw) {
                    let index = u32::try_from(row * across + column)?;
                    let (data_width, data_height) = decoder.chunk_data_dimensions(index);
                    let alone = lone_tile::is_one(decoder, data_width)?;
                    // What is read of the tile; of its width, all where it is read alone.
                    let dh = data_height as usize;
                    let dw = if alone { cw } else { data_width as usize };
                    memory::ensure_room(&[dh, dw], size_of::<S>())?;
                    let row_bytes = (dw * usize::from(self.page.bits)).div_ceil(8);
                    if alone {
                        lone_tile::read(decoder, &self.file, &self.page, index, dh, scratch)?;
                    } else {
                        scratch.resize(dh * row_bytes, 0);
                        decoder.read_chunk_bytes(index, scratch)?;
                    }
                    if self.page.inverted {
                        scratch.iter_mut().for_each(|byte| *byte = !*byte);
                    }
                    let bytes = if self.page.bits < 8 {
                        unpack_bits(scratch, row_bytes, dw, self.page.bits, &mut numbers);
                        &numbers
                    } else {
                        &*scratch
                    };
                    let ys = y.max(row * ch)..(y + height).min(row * ch + dh);
                    let xs = x.max(column * cw)..(x + width).min(column * cw + dw);
                    for at in ys {
                        let first = (at - row * ch) * dw + xs.start - column * cw;
                        let bytes = &bytes[first * size_of::<S>()..][..xs.len() * size_of::<S>()];
                        let mut line = out.row_mut(at - y);
                        let line = line.as_slice_mut().context("a row in one piece")?;
                        S::decode(bytes, &mut line[xs.start - x..xs.end - x])?;
                    }
                }
            }
            Ok(())
        };
        self.with_decoder(read).map_err(explained).with_context(|| format!("page {page}"))
    }

    fn read_stored<S: Stored>(
        &self,
        channels: Range<usize>,
        window: &Window,
        threads: usize,
    ) -> Result<Array4<S::Memory>> {
        read_by_tiles::<S>(channels, window, PLANES, threads, |scratch, origin, mut tile| {
            if let Some(voxels) = &self.beyond {
                return voxels.read_tile::<S>(&self.input.file, scratch, origin, tile);
            }
            let [c, z, y, x] = origin;
            let plane = tile.index_axis_mut(Axis(0), 0).index_axis_move(Axis(0), 0);
            self.read_page::<S>(self.page_of(c, z), [y, x], scratch, plane)
        })
    }
}

/// Says what is likely behind an error of the decoder.
fn explained(error: anyhow::Error) -> anyhow::Error {
    let damaged = |cause: &(dyn std::error::Error + 'static)| {
        matches!(
            cause.downcast_ref(),
            Some(TiffError::IoError(_) | TiffError::FormatError(_) | TiffError::IntSizeError)
        )
    };
    match error.chain().any(damaged) {
        true => error.context("the file is damaged or was not copied completely"),
        false => error,
    }
}

fn decoder(file: &Arc<File>) -> Result<PageDecoder> {
    let file = Positioned { file: file.clone(), position: 0 };
    let decoder = Decoder::new(BufReader::new(file)).context("not a TIFF file that can be read")?;
    Ok(decoder.with_limits(limits()))
}

/// What is too large for the memory is refused before it is decoded. Lists of a damaged file
/// may claim any length.
fn limits() -> Limits {
    let mut limits = Limits::unlimited();
    limits.ifd_value_size = LONGEST_LIST;
    limits.decoding_buffer_size = LONGEST_LIST;
    limits
}

/// How many bytes a byte of a strip can become at most: a run of zstd is a block of 128 KiB
/// in four bytes, deflate repeats 258 bytes by two bits, a code of LZW stands for 4 KiB.
fn best_ratio(compression: u16) -> u64 {
    match compression {
        1 => 1,
        5 => 4096,
        8 | 32946 => 1032,
        _ => 32768,
    }
}

impl PageLayout {
    /// An error if strips of `chunk` pixels are larger than anything that a file of `size`
    /// bytes can hold: reading one would take memory for nothing.
    fn ensure_possible(
        &self,
        chunk: [usize; 2],
        compression: Option<u16>,
        size: u64,
    ) -> Result<()> {
        let pixels = chunk[0].min(self.height) as u128 * chunk[1].min(self.width) as u128;
        let bytes = pixels * u128::from(self.bits) / 8;
        let most = u128::from(size) * u128::from(best_ratio(compression.unwrap_or(1)));
        ensure!(
            bytes <= most.max(HARMLESS),
            "it claims strips of {bytes} bytes, but the file has only {size}: it is damaged or was \
             not copied completely"
        );
        Ok(())
    }

    fn of(page: &mut PageDecoder) -> Result<PageLayout> {
        let compression = page.find_tag_unsigned::<u16>(Tag::Compression)?.unwrap_or(1);
        ensure!(
            COMPRESSIONS.contains(&compression),
            "its compression (number {compression}) is not read: save it with deflate, LZW, zstd \
             or none"
        );
        let samples = page.find_tag_unsigned::<u16>(Tag::SamplesPerPixel)?.unwrap_or(1);
        let meaning = page.find_tag_unsigned::<u16>(Tag::PhotometricInterpretation)?.unwrap_or(1);
        ensure!(
            meaning <= 1,
            "it is in colour: a grey image is needed; convert it (ImageJ: Image > Type > 8-bit), \
             or save its channels as pages"
        );
        ensure!(
            samples == 1,
            "it has {samples} numbers a pixel: save its channels as pages (tifffile: \
             planarconfig='separate' is not enough, move the axis to the front)"
        );
        let bits = page.find_tag_unsigned::<u8>(Tag::BitsPerSample)?.unwrap_or(1);
        let format = page.find_tag_unsigned_vec::<u16>(Tag::SampleFormat)?;
        let format = format.and_then(|formats| formats.first().copied()).unwrap_or(1);
        let stored = match (SampleFormat::from_u16_exhaustive(format), bits) {
            (SampleFormat::Uint, 1 | 2 | 4 | 8) => StoredType::U8,
            (SampleFormat::Uint, 16) => StoredType::U16,
            (SampleFormat::Uint, 32) => StoredType::U32,
            (SampleFormat::Uint, 64) => StoredType::U64,
            (SampleFormat::Int, 8) => StoredType::I8,
            (SampleFormat::Int, 16) => StoredType::I16,
            (SampleFormat::Int, 32) => StoredType::I32,
            (SampleFormat::Int, 64) => StoredType::I64,
            (SampleFormat::IEEEFP, 16) => StoredType::F16,
            (SampleFormat::IEEEFP, 32) => StoredType::F32,
            (SampleFormat::IEEEFP, 64) => StoredType::F64,
            _ => bail!("its numbers of {bits} bits are not known: save it as 8, 16 or 32 bits"),
        };
        let inverted = meaning == 0;
        // The decoder inverts them with rounding, or not at all.
        ensure!(
            !inverted || format == 1,
            "its numbers are floats or signed and white is zero (PhotometricInterpretation 0), \
             which is not read: save it with black as zero"
        );
        let (width, height) = page.dimensions()?;
        ensure!(width > 0 && height > 0, "it is empty");
        let (height, width) = (height as usize, width as usize);
        Ok(PageLayout { height, width, stored, bits, inverted })
    }
}

/// Numbers of the compressions that are read: none, LZW, JPEG, deflate (two numbers),
/// PackBits and zstd.
const COMPRESSIONS: [u16; 7] = [1, 5, 7, 8, 32946, 32773, 50000];

/// The resolution of a page.
fn first_page(page: &mut PageDecoder) -> FirstPage {
    let mut size = |tag| {
        let resolution = page.find_tag(tag).ok()??;
        let per_unit = match resolution {
            Value::Rational(n, d) => f64::from(n) / f64::from(d),
            Value::Float(number) => number.into(),
            Value::Double(number) => number,
            _ => return None,
        };
        Some(1.0 / per_unit).filter(|size| size.is_finite() && *size > 0.0)
    };
    let (y, x) = (size(Tag::YResolution), size(Tag::XResolution));
    FirstPage {
        pixel: y.zip(x).map(|(y, x)| [y, x]),
        unit: page.find_tag_unsigned(Tag::ResolutionUnit).ok().flatten(),
    }
}

/// One byte for each number of fewer bits, the first one in the highest bits.
fn unpack_bits(packed: &[u8], row_bytes: usize, width: usize, bits: u8, out: &mut Vec<u8>) {
    out.clear();
    let in_byte = usize::from(8 / bits);
    for row in packed.chunks_exact(row_bytes) {
        out.extend((0..width).map(|x| {
            let shift = 8 - bits * (x % in_byte + 1) as u8;
            (row[x / in_byte] >> shift) & ((1 << bits) - 1)
        }));
    }
}

impl VolumeReader for TiffReader {
    fn path(&self) -> &Path {
        &self.input.path
    }

    fn stored(&self) -> StoredType {
        self.page.stored
    }

    fn extent(&self) -> [usize; 4] {
        self.axes.shape
    }

    fn has_channels(&self) -> bool {
        self.axes.has_channels
    }

    fn chunk_shape(&self) -> Option<[usize; 4]> {
        if self.beyond.is_some() {
            return None;
        }
        let ([h, w], [_, _, height, width]) = (self.chunk, self.axes.shape);
        Some([1, 1, h.clamp(1, height), w.clamp(1, width)])
    }

    fn calibration(&self) -> Calibration {
        self.stack.calibration.clone()
    }

    fn read_part(&self, channels: Range<usize>, window: &Window, threads: usize) -> Result<Volume> {
        self.check_part(&channels, window);
        self.input.unchanged()?;
        let [d, h, w] = window.size;
        memory::ensure_room(&[channels.len(), d, h, w], self.element().size())
            .with_context(|| self.describe())?;
        let values = with_stored!(self.page.stored, S => {
            let array = self.read_stored::<S>(channels, window, threads);
            // A change meanwhile explains an error, and spoils what was read.
            self.input.unchanged()?;
            S::values(array.with_context(|| self.describe())?)
        });
        Ok(Volume { values, has_channels: self.has_channels() })
    }
}
