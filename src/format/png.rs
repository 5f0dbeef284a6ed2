//! Grey PNG images.

use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use ndarray::Array4;
use png::{BitDepth, ColorType, Transformations};

use crate::files::InputFile;
use crate::volume::Volume;

/// Reads a grey image of 8 or 16 bits as (1, H, W).
pub fn read(path: &Path) -> Result<Volume> {
    let name = path.display();
    let file = InputFile::open(path, "a PNG image")?.file;
    let damaged =
        |error: png::DecodingError| anyhow!("{name}: not a PNG image that can be read: {error}");
    let mut decoder = png::Decoder::new(BufReader::new(file));
    decoder.set_transformations(Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(damaged)?;
    let (color, depth) = (reader.info().color_type, reader.info().bit_depth);
    ensure!(
        color == ColorType::Grayscale && matches!(depth, BitDepth::Eight | BitDepth::Sixteen),
        "{name}: the image is {color:?} of {} bits a sample; \
         convert it to grey of 8 or 16 bits (Pillow: image.convert(\"L\"))",
        depth as u8
    );
    let (h, w) = (reader.info().height as usize, reader.info().width as usize);
    let size = reader
        .output_buffer_size()
        .filter(|&size| size < 1 << 32)
        .with_context(|| format!("{name}: the image is too large"))?;
    let mut bytes = vec![0; size];
    reader.next_frame(&mut bytes).map_err(damaged)?;
    Ok(match depth {
        BitDepth::Sixteen => {
            let (pairs, _) = bytes.as_chunks::<2>();
            let values = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
            Volume::plain(Array4::from_shape_vec((1, 1, h, w), values)?)
        }
        _ => Volume::plain(Array4::from_shape_vec((1, 1, h, w), bytes)?),
    })
}
