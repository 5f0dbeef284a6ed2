//! A picture of a result: maximum projections along z of raw and prediction.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ndarray::{Array2, Array3, ArrayView4, Axis, s};

use crate::files::{InputFile, PartialFile, is_taken};

/// The key and the text by which we know our own pictures again.
const MARK: (&str, &str) = ("Software", "unet3d predict");

/// Checks that nothing is lost if a picture takes its place under a path.
///
/// # Errors
/// Anything that stands there and is no picture of ours.
pub fn check_preview(path: &Path) -> Result<()> {
    ensure!(
        !is_taken(path) || open_preview(path).is_some(),
        "{}: exists and is no preview of ours; it is not replaced. Move it away, or set \
         `loaders.output_dir`",
        path.display()
    );
    Ok(())
}

/// Whether a picture is one of ours and complete.
pub fn is_whole_preview(path: &Path) -> bool {
    open_preview(path).is_some_and(|mut reader| {
        let size = reader.output_buffer_size().filter(|size| *size < 1 << 32);
        size.is_some_and(|size| reader.next_frame(&mut vec![0; size]).is_ok())
            && reader.finish().is_ok()
    })
}

fn open_preview(path: &Path) -> Option<png::Reader<BufReader<File>>> {
    let file = InputFile::open(path, "a picture").ok()?.file;
    let reader = png::Decoder::new(BufReader::new(file)).read_info().ok()?;
    let texts = &reader.info().uncompressed_latin1_text;
    let ours = texts.iter().any(|chunk| (chunk.keyword.as_str(), chunk.text.as_str()) == MARK);
    ours.then_some(reader)
}

/// Maximum projections that grow plane by plane.
pub struct Preview {
    /// (H, W), over all channels.
    raw: Array2<f32>,
    /// (C, H, W)
    result: Array3<f32>,
}

impl Preview {
    pub fn new(raw: Array2<f32>, channels: usize) -> Self {
        let (height, width) = raw.dim();
        let result = Array3::from_elem((channels, height, width), f32::NEG_INFINITY);
        Preview { raw, result }
    }

    /// Adds a part (1, d, h, W) of a channel that begins at row `y`.
    pub fn add(&mut self, channel: usize, y: usize, part: ArrayView4<'_, f32>) {
        let rows = y..y + part.dim().2;
        let mut most = self.result.slice_mut(s![channel..channel + 1, rows, ..]);
        for plane in part.axis_iter(Axis(1)) {
            most.zip_mut_with(&plane, |most, value| *most = most.max(*value));
        }
    }

    /// Writes raw and result side by side. Classes have a colour each, as bright
    /// as they are likely; class 0 of several is the background.
    pub fn write(&self, path: &Path) -> Result<()> {
        let (height, width) = self.raw.dim();
        let raw = scaled(&self.raw);
        let channels = self.result.dim().0;
        let mut pixels = Vec::with_capacity(height * 2 * width * 3);
        for y in 0..height {
            for x in 0..width {
                pixels.extend([raw[[y, x]]; 3]);
            }
            for x in 0..width {
                let first = usize::from(channels > 1);
                let (class, value) = (first..channels)
                    .map(|class| (class, self.result[[class, y, x]]))
                    .fold((first, f32::NEG_INFINITY), |a, b| if b.1 > a.1 { b } else { a });
                let brightness = value.clamp(0.0, 1.0);
                let colour = if channels == 1 { [1.0; 3] } else { colour(class) };
                pixels.extend(colour.map(|part| (part * brightness * 255.0).round() as u8));
            }
        }
        let context = || format!("{}: the preview cannot be written", path.display());
        let partial = PartialFile::create(path).with_context(context)?;
        let out = BufWriter::new(partial.file());
        let mut encoder = png::Encoder::new(out, 2 * width as u32, height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.add_text_chunk(MARK.0.into(), MARK.1.into()).with_context(context)?;
        let mut writer = encoder.write_header().with_context(context)?;
        writer.write_image_data(&pixels).with_context(context)?;
        writer.finish().with_context(context)?;
        partial.replace_if(check_preview)?.with_context(context)
    }
}

/// From the smallest to the largest value as 0 to 255.
fn scaled(values: &Array2<f32>) -> Array2<u8> {
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let range = if high > low { high - low } else { 1.0 };
    values.mapv(|value| ((value - low) / range * 255.0).round() as u8)
}

/// A colour for a class: hues a golden angle apart, so that neighbours differ.
fn colour(class: usize) -> [f32; 3] {
    let hue = (class as f32 * 0.618_034).fract() * 6.0;
    [5.0, 3.0, 1.0].map(|offset| {
        let k = (offset + hue) % 6.0;
        1.0 - 0.85 * k.min(4.0 - k).clamp(0.0, 1.0)
    })
}
