//! TIFF stacks: one slice a page.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use ndarray::Array4;
use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult};
use tiff::tags::Tag;

use crate::volume::{Values, Volume};

/// Reads a stack of grey pages as a volume (D, H, W), in the type it was stored in
/// or the next wider one that volumes know.
pub fn read(path: &Path) -> Result<Volume> {
    let file = BufReader::new(File::open(path)?);
    let mut decoder = Decoder::new(file).context("not a TIFF file")?;
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
    let size = decoder.dimensions()?;
    let mut pages = Vec::new();
    loop {
        let page = pages.len();
        ensure!(
            matches!(decoder.colortype()?, ColorType::Gray(_)),
            "page {page} is in colour: a grey image is needed"
        );
        ensure!(
            decoder.dimensions()? == size,
            "page {page} is {:?} pixels large, the first one {size:?}",
            decoder.dimensions()?
        );
        pages.push(decoder.read_image().with_context(|| format!("page {page}"))?);
        if !decoder.more_images() {
            break;
        }
        decoder.next_image()?;
    }
    if let Some(n) = imagej("images").filter(|n| *n != pages.len()) {
        // ImageJ writes stacks above 4 GB as one page and the rest behind it.
        bail!("{} of {n} slices are TIFF pages: save it as BigTIFF", pages.len());
    }
    stack(pages, size)
}

fn stack(pages: Vec<DecodingResult>, (width, height): (u32, u32)) -> Result<Volume> {
    let shape = (1, pages.len(), height as usize, width as usize);
    macro_rules! joined {
        ($variant:ident => $type:ty) => {{
            let mut all: Vec<$type> = Vec::with_capacity(pages.len() * shape.2 * shape.3);
            for (index, page) in pages.into_iter().enumerate() {
                let DecodingResult::$variant(values) = page else {
                    bail!("page {index} has another type of numbers than the first")
                };
                all.extend(values.into_iter().map(<$type>::from));
            }
            Values::from(Array4::from_shape_vec(shape, all)?)
        }};
    }
    let values = match &pages[0] {
        DecodingResult::U8(_) => joined!(U8 => u8),
        DecodingResult::U16(_) => joined!(U16 => u16),
        DecodingResult::I8(_) => joined!(I8 => i32),
        DecodingResult::I16(_) => joined!(I16 => i32),
        DecodingResult::I32(_) => joined!(I32 => i32),
        DecodingResult::U32(_) => joined!(U32 => i64),
        DecodingResult::I64(_) => joined!(I64 => i64),
        DecodingResult::F32(_) => joined!(F32 => f32),
        DecodingResult::F64(_) => joined!(F64 => f64),
        _ => bail!("its type of numbers is not known: save it as 8, 16 or 32 bits"),
    };
    Ok(Volume::plain(values))
}
