//! Pictures of the slices of a volume: raw image, truth, prediction, and where they
//! disagree.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::format;
use crate::regions::LabelImage;
use crate::volume::{VolumeReader, Window};

use super::images::{ClassMaps, class_maps, label_images};
use super::objects::object_scores;
use super::pairs::{EvaluationPair, open};
use super::plan::{EvaluationKind, EvaluationPlan};
use super::semantic::IGNORED;

/// Pixels along y and x that a picture has at most.
const LARGEST: usize = 320;
/// Slices that are shown of a volume, at most.
const MOST_SLICES: usize = 96;
/// In the third byte of a pixel: truth and prediction disagree there.
pub const DISAGREE: u8 = 0x80;

/// The slices of one file.
///
/// A picture has three bytes a pixel: brightness of the raw image; colour of the truth,
/// 0 for background, else 1 to 127; colour of the prediction, with [`DISAGREE`].
/// Objects that match have one colour.
pub struct SliceView {
    pub name: String,
    /// Height and width of the pictures.
    pub size: [usize; 2],
    /// The slice of the volume that each picture shows, from 0.
    pub slices: Vec<usize>,
    /// PNG files.
    pub pictures: Vec<Vec<u8>>,
    pub has_raw: bool,
}

/// Draws the slices of a file. Large ones are thinned.
///
/// # Errors
/// Files that cannot be read.
pub fn view(plan: &EvaluationPlan, pair: &EvaluationPair, raw_dataset: &str) -> Result<SliceView> {
    let [found, truth] = open(plan, &pair.found, &pair.truth)?;
    let size = found.size();
    let [depth, height, width] = size;
    let layers = match plan.kind {
        EvaluationKind::Instances => objects(plan, &*found, &*truth)?,
        _ => classes(plan, &*found, &*truth)?,
    };
    let raw = raw_image(&pair.raw, raw_dataset, size)?;
    let step = height.max(width).div_ceil(LARGEST);
    let z_step = depth.div_ceil(MOST_SLICES);
    let (rows, columns) = (height.div_ceil(step), width.div_ceil(step));
    let mut pictures = Vec::new();
    let slices: Vec<usize> = (0..depth).step_by(z_step).collect();
    for &z in &slices {
        let mut pixels = Vec::with_capacity(3 * rows * columns);
        for y in (0..height).step_by(step) {
            for x in (0..width).step_by(step) {
                let at = (z * height + y) * width + x;
                let brightness = raw.as_ref().map_or(0, |raw| raw[at]);
                let disagree = if layers.disagree[at] { DISAGREE } else { 0 };
                pixels.extend([brightness, layers.truth[at], layers.found[at] | disagree]);
            }
        }
        pictures.push(png(&pixels, columns, rows)?);
    }
    let has_raw = raw.is_some();
    Ok(SliceView { name: pair.name.clone(), size: [rows, columns], slices, pictures, has_raw })
}

/// Colours of truth and prediction, and where they disagree.
struct Layers {
    truth: Vec<u8>,
    found: Vec<u8>,
    disagree: Vec<bool>,
}

fn classes(
    plan: &EvaluationPlan,
    found: &dyn VolumeReader,
    truth: &dyn VolumeReader,
) -> Result<Layers> {
    // Channels that are compared one by one may overlap; the likeliest stands for them.
    let plan = EvaluationPlan { channels_apart: false, ..plan.clone() };
    let ClassMaps { found, truth, .. } = class_maps(&plan, found, truth)?;
    let disagree = found.iter().zip(&truth).map(|(a, b)| a != b && *b != IGNORED).collect();
    let colours = |classes: Vec<u16>| {
        let colour = |class: u16| if class == IGNORED { 0 } else { colour(u64::from(class)) };
        classes.into_iter().map(colour).collect()
    };
    Ok(Layers { disagree, truth: colours(truth), found: colours(found) })
}

fn objects(
    plan: &EvaluationPlan,
    found: &dyn VolumeReader,
    truth: &dyn VolumeReader,
) -> Result<Layers> {
    let (found, truth) = label_images(plan, found, truth, true)?;
    let (found_image, truth_image) = (LabelImage::new(&found), LabelImage::new(&truth));
    let (_, partner) = object_scores(&truth_image, &found_image);
    // A found object has the colour of its partner, one without a colour of its own.
    let mut of_found: HashMap<i64, (Option<i64>, u8)> = HashMap::new();
    for (index, label) in found_image.values.iter().enumerate() {
        let partner = partner[index].map(|id| truth_image.values[id as usize]);
        let number = partner.unwrap_or(label.wrapping_add(61));
        of_found.insert(*label, (partner, colour(number.unsigned_abs())));
    }
    let mut layers = Layers { truth: Vec::new(), found: Vec::new(), disagree: Vec::new() };
    for (label, true_label) in found.into_iter().zip(truth) {
        let (partner, tint) = of_found[&label];
        layers.found.push(if label == 0 { 0 } else { tint });
        layers.truth.push(if true_label == 0 { 0 } else { colour(true_label.unsigned_abs()) });
        layers.disagree.push(match (label, true_label) {
            (0, 0) => false,
            (0, _) | (_, 0) => true,
            (_, true_label) => partner != Some(true_label),
        });
    }
    Ok(layers)
}

/// 0 for the background, else from 1 to 127.
fn colour(label: u64) -> u8 {
    match label {
        0 => 0,
        label => ((label - 1) % 127 + 1) as u8,
    }
}

/// The first channel of the first raw image, from its 0.5th to its 99.5th percentile as
/// 0 to 255; `None` without an image of that size.
fn raw_image(files: &[PathBuf], dataset: &str, size: [usize; 3]) -> Result<Option<Vec<u8>>> {
    let Some(path) = files.first() else { return Ok(None) };
    let reader = format::open(path, dataset)?;
    anyhow::ensure!(
        reader.size() == size,
        "{} is {:?} voxels large (z, y, x), the prediction {size:?}",
        reader.describe(),
        reader.size()
    );
    let values = reader.read_part(0..1, &Window::whole(size), 1)?.into_f32();
    let values = values.as_slice().context("in one piece")?;
    let stride = (values.len() / 100_000).max(1);
    let mut sample: Vec<f32> =
        values.iter().step_by(stride).copied().filter(|value| value.is_finite()).collect();
    if sample.is_empty() {
        return Ok(None);
    }
    sample.sort_by(f32::total_cmp);
    let low = sample[sample.len() / 200];
    let high = sample[sample.len() - 1 - sample.len() / 200];
    let range = if high > low { high - low } else { 1.0 };
    let scaled = |value: &f32| ((value - low) / range * 255.0).clamp(0.0, 255.0) as u8;
    Ok(Some(values.iter().map(scaled).collect()))
}

fn png(pixels: &[u8], width: usize, height: usize) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, u32::try_from(width)?, u32::try_from(height)?);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(file)
}
