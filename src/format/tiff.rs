//! TIFF stacks: one slice a page.

use std::fs::File;
use std::io::BufReader;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail, ensure};
use ndarray::{Array4, ArrayViewMut2};
use tiff::ColorType;
use tiff::decoder::{Decoder, Limits};
use tiff::tags::{PhotometricInterpretation, SampleFormat, Tag};

use super::Format;
use super::positioned::Positioned;
use super::single::SingleVolume;
use super::stored::{Stored, StoredType, with_stored};
use crate::files::InputFile;
use crate::runtime::memory;
use crate::volume::tiles::{for_each, split};
use crate::volume::{Element, Volume, VolumeReader, Window};

pub(super) static ENTRY: Format = Format {
    name: "TIFF",
    meaning: "one volume (D, H, W), each page a slice of it",
    extensions: &["tif", "tiff"],
    in_directories: true,
    recognises: |file| {
        let mut start = [0; 4];
        file.read_exact_at(&mut start, 0).is_ok()
            && [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"].contains(&&start)
    },
    open: |path| Ok(SingleVolume::boxed(TiffReader::open(path)?)),
    create: None,
};

type PageDecoder = Decoder<BufReader<Positioned<Arc<File>>>>;

/// A stack of grey pages, opened and not read yet.
struct TiffReader {
    input: InputFile,
    /// The same file for the decoders.
    file: Arc<File>,
    /// (D, H, W)
    size: [usize; 3],
    stored: StoredType,
    /// Height and width of the strips or tiles of the first page.
    chunk: [usize; 2],
    /// Decoders that nobody works with. Each remembers where the pages are.
    idle: Mutex<Vec<PageDecoder>>,
}

impl std::fmt::Debug for TiffReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TiffReader")
            .field("input", &self.input)
            .field("size", &self.size)
            .field("stored", &self.stored)
            .finish_non_exhaustive()
    }
}

impl TiffReader {
    /// Opens a stack of grey pages as a volume (D, H, W).
    fn open(path: &Path) -> Result<TiffReader> {
        let input = InputFile::open(path, "a TIFF file")?;
        let name = input.path.display().to_string();
        TiffReader::of(input).context(name)
    }

    fn of(input: InputFile) -> Result<TiffReader> {
        let file = Arc::new(input.file.try_clone()?);
        let mut decoder = decoder(&file)?;
        // ImageJ notes here what the pages are.
        let note = decoder.get_tag_ascii_string(Tag::ImageDescription).unwrap_or_default();
        let imagej = |key: &str| -> Option<usize> {
            note.starts_with("ImageJ=").then_some(())?;
            let value = note.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            value?.trim().parse().ok()
        };
        for key in ["channels", "frames"] {
            if let Some(n) = imagej(key).filter(|n| *n > 1) {
                bail!("the stack has {n} {key}: save each as a file of its own");
            }
        }
        let (width, height) = decoder.dimensions()?;
        ensure!(width > 0 && height > 0, "its pages are empty");
        let (chunk_width, chunk_height) = decoder.chunk_dimensions();
        let stored = stored_type(&mut decoder)?;
        let mut pages = 0;
        loop {
            ensure!(
                matches!(decoder.colortype()?, ColorType::Gray(_)),
                "page {pages} is in colour: a grey image is needed"
            );
            ensure!(
                is_unsigned(stored) || !white_is_zero(&mut decoder)?,
                "page {pages} has white as zero (PhotometricInterpretation 0) in numbers that are \
                 signed or no integers: save it with black as zero"
            );
            ensure!(
                decoder.dimensions()? == (width, height),
                "page {pages} is {:?} pixels large, the first one {:?}",
                decoder.dimensions()?,
                (width, height)
            );
            ensure!(
                stored_type(&mut decoder)? == stored,
                "page {pages} has another type of numbers than the first"
            );
            pages += 1;
            if !decoder.more_images() {
                break;
            }
            decoder.next_image().with_context(|| format!("page {pages}"))?;
        }
        if let Some(n) = imagej("images").filter(|n| *n != pages) {
            // ImageJ writes stacks above 4 GB as one page and the rest behind it.
            bail!("{pages} of {n} slices are TIFF pages: save it as BigTIFF");
        }
        Ok(TiffReader {
            input,
            file,
            size: [pages, height as usize, width as usize],
            stored,
            chunk: [chunk_height as usize, chunk_width as usize],
            idle: Mutex::new(vec![decoder]),
        })
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
        let read = |decoder: &mut PageDecoder| -> Result<()> {
            decoder.seek_to_image(page)?;
            let (chunk_width, chunk_height) = decoder.chunk_dimensions();
            let (ch, cw) = (chunk_height as usize, chunk_width as usize);
            ensure!(ch > 0 && cw > 0, "its strips are empty");
            let across = self.size[2].div_ceil(cw);
            let inverted = white_is_zero(decoder)?;
            for row in y / ch..(y + height).div_ceil(ch) {
                for column in x / cw..(x + width).div_ceil(cw) {
                    let index = u32::try_from(row * across + column)?;
                    let (data_width, data_height) = decoder.chunk_data_dimensions(index);
                    let (dh, dw) = (data_height as usize, data_width as usize);
                    memory::ensure_room(&[dh, dw], size_of::<S>())?;
                    scratch.resize(dh * dw * size_of::<S>(), 0);
                    decoder.read_chunk_bytes(index, scratch)?;
                    // The decoder makes black zero. The numbers are what was measured, however
                    // they are to be shown: as in tifffile and ImageJ, they stay.
                    if inverted {
                        scratch.iter_mut().for_each(|byte| *byte = !*byte);
                    }
                    let ys = y.max(row * ch)..(y + height).min(row * ch + dh);
                    let xs = x.max(column * cw)..(x + width).min(column * cw + dw);
                    for at in ys {
                        let first = (at - row * ch) * dw + xs.start - column * cw;
                        let bytes = &scratch[first * size_of::<S>()..][..xs.len() * size_of::<S>()];
                        let mut line = out.row_mut(at - y);
                        let line = line.as_slice_mut().context("a row in one piece")?;
                        S::decode(bytes, &mut line[xs.start - x..xs.end - x])?;
                    }
                }
            }
            Ok(())
        };
        self.with_decoder(read).with_context(|| format!("page {page}"))
    }

    fn read_stored<S: Stored>(&self, window: &Window, threads: usize) -> Result<Array4<S::Memory>> {
        let [d, h, w] = window.size;
        let mut out = Array4::from_elem((1, d, h, w), S::Memory::default());
        let [z, y, x] = window.origin;
        let pages = split([0, z, y, x], out.view_mut(), [1, 1, usize::MAX, usize::MAX]);
        for_each(pages, threads, |scratch: &mut Vec<u8>, [_, z, y, x], mut tile| {
            let plane = tile.outer_iter_mut().next().context("a plane")?;
            let plane = plane.index_axis_move(ndarray::Axis(0), 0);
            self.read_page::<S>(z, [y, x], scratch, plane)
        })?;
        Ok(out)
    }
}

fn decoder(file: &Arc<File>) -> Result<PageDecoder> {
    let file = Positioned { file: file.clone(), position: 0 };
    let decoder = Decoder::new(BufReader::new(file)).context("not a TIFF file that can be read")?;
    // What is too large for the memory is refused before it is decoded.
    Ok(decoder.with_limits(Limits::unlimited()))
}

/// Whether a page is to be shown with white for zero. The decoder then subtracts all
/// unsigned numbers from the largest one.
fn white_is_zero(page: &mut PageDecoder) -> Result<bool> {
    let shown = page.find_tag_unsigned::<u16>(Tag::PhotometricInterpretation)?;
    Ok(shown == Some(PhotometricInterpretation::WhiteIsZero.to_u16()))
}

fn is_unsigned(stored: StoredType) -> bool {
    matches!(stored, StoredType::U8 | StoredType::U16 | StoredType::U32 | StoredType::U64)
}

/// The type of the numbers of a page.
fn stored_type(page: &mut PageDecoder) -> Result<StoredType> {
    let bits = page.colortype()?.bit_depth();
    let format = page.find_tag_unsigned_vec::<u16>(Tag::SampleFormat)?;
    let format = format.and_then(|formats| formats.first().copied()).unwrap_or(1);
    Ok(match (SampleFormat::from_u16_exhaustive(format), bits) {
        (SampleFormat::Uint, 8) => StoredType::U8,
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
    })
}

impl VolumeReader for TiffReader {
    fn path(&self) -> &Path {
        &self.input.path
    }

    fn element(&self) -> Element {
        self.stored.element()
    }

    fn extent(&self) -> [usize; 4] {
        let [d, h, w] = self.size;
        [1, d, h, w]
    }

    fn chunk_shape(&self) -> Option<[usize; 4]> {
        let [h, w] = self.chunk;
        Some([1, 1, h.clamp(1, self.size[1]), w.clamp(1, self.size[2])])
    }

    fn read_part(&self, channels: Range<usize>, window: &Window, threads: usize) -> Result<Volume> {
        self.check_part(&channels, window);
        self.input.unchanged()?;
        let [d, h, w] = window.size;
        memory::ensure_room(&[d, h, w], self.element().size()).with_context(|| self.describe())?;
        let values = with_stored!(self.stored, S => {
            let array = self.read_stored::<S>(window, threads);
            // A change meanwhile explains an error, and spoils what was read.
            self.input.unchanged()?;
            S::values(array.with_context(|| self.describe())?)
        });
        Ok(Volume { values, has_channels: false })
    }
}
