//! Pictures of the slices of a volume: raw image, truth, prediction, and where they
//! disagree.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Result;
use ndarray::Axis;

use crate::format;
use crate::volume::{VolumeReader, Window};

use super::images::{ClassSlices, ClassVolumes, LabelSlices, LabelVolumes, slabs};
use super::objects::object_scores;
use super::pairs::{EvaluationPair, open};
use super::plan::{EvaluationKind, EvaluationPlan};
use super::score::label_pairs;
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

/// Draws the slices of a file. Large ones are thinned, and only the slices that are shown
/// are held.
///
/// # Errors
/// Files that cannot be read.
pub fn view(plan: &EvaluationPlan, pair: &EvaluationPair, raw_dataset: &str) -> Result<SliceView> {
    let [found, truth] = open(plan, &pair.found, &pair.truth)?;
    let size = found.size();
    let [depth, height, width] = size;
    let layers: Box<dyn Fn(usize) -> Result<Layers> + '_> = match plan.kind {
        EvaluationKind::Instances => Box::new(objects(plan, &*found, &*truth)?),
        _ => Box::new(classes(plan, &*found, &*truth)?),
    };
    let step = height.max(width).div_ceil(LARGEST);
    let z_step = depth.div_ceil(MOST_SLICES);
    let (rows, columns) = (height.div_ceil(step), width.div_ceil(step));
    let slices: Vec<usize> = (0..depth).step_by(z_step).collect();
    let thinned = |values: &[u8]| -> Vec<u8> {
        let rows = values.chunks_exact(width.max(1)).step_by(step);
        rows.flat_map(|row| row.iter().step_by(step).copied()).collect()
    };
    let raw = raw_slices(&pair.raw, raw_dataset, size, &slices, step)?;
    let mut pictures = Vec::new();
    for (index, &z) in slices.iter().enumerate() {
        let Layers { truth, found, disagree } = layers(z)?;
        let [truth, found, disagree] = [truth, found, disagree].map(|layer| thinned(&layer));
        let mut pixels = Vec::with_capacity(3 * rows * columns);
        for at in 0..rows * columns {
            let brightness = raw.as_ref().map_or(0, |raw| raw[index][at]);
            pixels.extend([brightness, truth[at], found[at] | disagree[at]]);
        }
        pictures.push(png(&pixels, columns, rows)?);
    }
    let has_raw = raw.is_some();
    Ok(SliceView { name: pair.name.clone(), size: [rows, columns], slices, pictures, has_raw })
}

/// A slice (H, W): colours of truth and prediction, and [`DISAGREE`] where they do.
struct Layers {
    truth: Vec<u8>,
    found: Vec<u8>,
    disagree: Vec<u8>,
}

fn classes<'a>(
    plan: &EvaluationPlan,
    found: &'a dyn VolumeReader,
    truth: &'a dyn VolumeReader,
) -> Result<impl Fn(usize) -> Result<Layers> + 'a> {
    // Channels that are compared one by one may overlap; the likeliest stands for them.
    let plan = EvaluationPlan { channels_apart: false, ..plan.clone() };
    let volumes = ClassVolumes::new(&plan, found, truth, 1)?;
    Ok(move |z| {
        let ClassSlices { found, truth, .. } = volumes.read(&(z..z + 1))?;
        let differ = |(a, b): (&u16, &u16)| if a != b && *b != IGNORED { DISAGREE } else { 0 };
        let disagree = found.iter().zip(&truth).map(differ).collect();
        let colours = |classes: Vec<u16>| {
            let colour = |class: u16| if class == IGNORED { 0 } else { colour(u64::from(class)) };
            classes.into_iter().map(colour).collect()
        };
        Ok(Layers { disagree, truth: colours(truth), found: colours(found) })
    })
}

fn objects<'a>(
    plan: &'a EvaluationPlan,
    found: &'a dyn VolumeReader,
    truth: &'a dyn VolumeReader,
) -> Result<impl Fn(usize) -> Result<Layers> + 'a> {
    let volumes = LabelVolumes::new(plan, found, truth, 1)?;
    let pairs = label_pairs(&volumes, &slabs(found, truth))?;
    let (_, partner) = object_scores(&pairs);
    // A found object has the colour of its partner, one without a colour of its own.
    let mut of_found: HashMap<i64, (Option<i64>, u8)> = HashMap::new();
    for (index, label) in pairs.found.values.iter().enumerate() {
        let partner = partner[index].map(|id| pairs.truth.values[id as usize]);
        let number = partner.unwrap_or(label.wrapping_add(61));
        of_found.insert(*label, (partner, colour(number.unsigned_abs())));
    }
    Ok(move |z| {
        let LabelSlices { found, truth } = volumes.read(&(z..z + 1))?;
        let mut layers = Layers { truth: Vec::new(), found: Vec::new(), disagree: Vec::new() };
        for (label, true_label) in found.into_iter().zip(truth) {
            let (label, true_label) =
                if volumes.leaves_out(true_label) { (0, 0) } else { (label, true_label) };
            let (partner, tint) = of_found.get(&label).copied().unwrap_or_default();
            layers.found.push(if label == 0 { 0 } else { tint });
            layers.truth.push(if true_label == 0 { 0 } else { colour(true_label.unsigned_abs()) });
            let differ = match (label, true_label) {
                (0, 0) => false,
                (0, _) | (_, 0) => true,
                (_, true_label) => partner != Some(true_label),
            };
            layers.disagree.push(if differ { DISAGREE } else { 0 });
        }
        Ok(layers)
    })
}

/// 0 for the background, else from 1 to 127.
fn colour(label: u64) -> u8 {
    match label {
        0 => 0,
        label => ((label - 1) % 127 + 1) as u8,
    }
}

/// Slices of the first channel of the first raw image, of every `step`-th voxel along y and
/// x, from its 0.5th to its 99.5th percentile as 0 to 255; `None` without an image.
///
/// # Errors
/// An image of another size.
fn raw_slices(
    files: &[PathBuf],
    dataset: &str,
    size: [usize; 3],
    slices: &[usize],
    step: usize,
) -> Result<Option<Vec<Vec<u8>>>> {
    let Some(path) = files.first() else { return Ok(None) };
    let reader = format::open(path, dataset)?;
    let [_, height, width] = size;
    anyhow::ensure!(
        reader.size() == size,
        "{} is {:?} voxels large (z, y, x), the prediction {size:?}",
        reader.describe(),
        reader.size()
    );
    let mut thinned: Vec<Vec<f32>> = Vec::new();
    for &z in slices {
        let window = Window::new([z, 0, 0], [1, height, width]);
        let slice = reader.read_part(0..1, &window, 1)?.into_f32();
        let rows = slice.index_axis(Axis(0), 0).index_axis_move(Axis(0), 0);
        let rows = rows.outer_iter().step_by(step);
        thinned.push(rows.flat_map(|row| row.to_vec().into_iter().step_by(step)).collect());
    }
    let voxels: usize = thinned.iter().map(Vec::len).sum();
    let all = thinned.iter().flatten().step_by((voxels / 100_000).max(1));
    let mut sample: Vec<f32> = all.copied().filter(|value| value.is_finite()).collect();
    if sample.is_empty() {
        return Ok(None);
    }
    sample.sort_by(f32::total_cmp);
    let low = sample[sample.len() / 200];
    let high = sample[sample.len() - 1 - sample.len() / 200];
    let range = if high > low { high - low } else { 1.0 };
    let scaled = |value: f32| ((value - low) / range * 255.0).clamp(0.0, 255.0) as u8;
    Ok(Some(thinned.into_iter().map(|slice| slice.into_iter().map(scaled).collect()).collect()))
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
