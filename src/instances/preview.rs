//! A picture of a segmentation: the probability beside the regions, along z.

use std::io::{BufReader, BufWriter};
use std::path::Path;

use anyhow::{Context, Result};

use crate::files::{InputFile, PartialFile};
use crate::regions::Runs;

use super::planes::{Planes, slabs};
use super::write::MARK;

/// The key of the text by which a picture is known again.
const KEY: &str = "Software";

/// Writes the maximum projection of the probability, and beside it for every column
/// of voxels the first region that it meets. The file waits for its name.
pub fn preview(path: &Path, probability: &dyn Planes, regions: &Runs) -> Result<PartialFile> {
    let [depth, height, width] = probability.size();
    let mut most = vec![0.0f32; height * width];
    for slices in slabs(probability) {
        for plane in probability.read(slices)?.chunks_exact((height * width).max(1)) {
            most.iter_mut().zip(plane).for_each(|(most, value)| *most = most.max(*value));
        }
    }
    let mut first = vec![0u32; height * width];
    for row in 0..depth * height {
        let first = &mut first[row % height * width..][..width];
        for run in regions.row(row) {
            for label in &mut first[run.start as usize..run.end as usize] {
                if *label == 0 {
                    *label = run.label;
                }
            }
        }
    }
    let mut pixels = Vec::with_capacity(6 * height * width);
    for y in 0..height {
        let row = y * width..(y + 1) * width;
        for value in &most[row.clone()] {
            pixels.extend([(value.clamp(0.0, 1.0) * 255.0).round() as u8; 3]);
        }
        for label in &first[row] {
            pixels.extend(colour(*label));
        }
    }
    let write = || -> Result<PartialFile> {
        let partial = PartialFile::create(path)?;
        let file = BufWriter::new(partial.file());
        let mut encoder =
            png::Encoder::new(file, u32::try_from(2 * width)?, u32::try_from(height)?);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.add_text_chunk(KEY.into(), MARK.made_by.into())?;
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&pixels)?;
        writer.finish()?;
        Ok(partial)
    };
    write().with_context(|| format!("{}: the preview cannot be written", path.display()))
}

/// Whether a picture is one of ours.
pub(super) fn is_preview(path: &Path) -> bool {
    let Ok(InputFile { file, .. }) = InputFile::open(path, "a picture") else { return false };
    png::Decoder::new(BufReader::new(file)).read_info().is_ok_and(|reader| {
        let texts = &reader.info().uncompressed_latin1_text;
        texts.iter().any(|chunk| chunk.keyword == KEY && chunk.text == MARK.made_by)
    })
}

/// Hues a golden angle apart, so that neighbours differ; black for no region.
fn colour(label: u32) -> [u8; 3] {
    if label == 0 {
        return [0; 3];
    }
    let hue = (label as f32 * 0.618_034).fract() * 6.0;
    [5.0, 3.0, 1.0].map(|offset| {
        let k = (offset + hue) % 6.0;
        ((1.0 - 0.75 * k.min(4.0 - k).clamp(0.0, 1.0)) * 255.0).round() as u8
    })
}
