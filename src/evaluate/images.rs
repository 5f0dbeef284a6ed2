//! Predictions and truth as classes or labels of voxels.

use std::ops::Range;

use anyhow::{Result, bail, ensure};
use log::warn;

use crate::regions::LabelImage;
use crate::regions::runs::limit;
use crate::volume::{Element, Values, VolumeReader, Window};

use super::plan::EvaluationPlan;
use super::semantic::IGNORED;

/// Bytes of the parts in which channels are read.
const PART: usize = 32 << 20;

/// Classes of the voxels (D, H, W) of a prediction and of its truth.
pub struct ClassMaps {
    pub found: Vec<u16>,
    /// [`IGNORED`] where nothing is to be scored.
    pub truth: Vec<u16>,
    /// The classes that are scored.
    pub classes: Range<u16>,
}

/// Checks that prediction and truth are of the same size.
pub fn same_size(found: &dyn VolumeReader, truth: &dyn VolumeReader) -> Result<()> {
    ensure!(
        found.size() == truth.size(),
        "{} is {:?} voxels large (z, y, x), {} {:?}: they have to be the same",
        found.describe(),
        found.size(),
        truth.describe(),
        truth.size()
    );
    Ok(())
}

/// Whether a prediction holds a label for each voxel, not probabilities.
fn is_label_map(reader: &dyn VolumeReader) -> bool {
    reader.channels() == 1 && !reader.element().is_float()
}

/// Reads the likeliest class of each voxel, and the true one.
///
/// # Errors
/// Sizes or classes that do not fit together.
pub fn class_maps(
    plan: &EvaluationPlan,
    found: &dyn VolumeReader,
    truth: &dyn VolumeReader,
) -> Result<ClassMaps> {
    same_size(found, truth)?;
    let first = u16::from(!plan.background);
    let channels = found.channels();
    ensure!(channels < usize::from(IGNORED), "{} has {channels} channels", found.describe());
    if is_label_map(found) {
        let found_classes = labelled(plan, found, false)?;
        let truth = true_classes(plan, truth, None)?;
        let most = |classes: &[u16]| {
            classes.iter().copied().filter(|class| *class != IGNORED).max().unwrap_or(0)
        };
        let end = most(&found_classes).max(most(&truth)).max(1) + 1;
        return Ok(ClassMaps { found: found_classes, truth, classes: first..end });
    }
    if channels == 1 {
        let found_classes = channel_above(plan, found, 0)?;
        let truth = true_classes(&EvaluationPlan { binary: true, ..plan.clone() }, truth, Some(2))?;
        return Ok(ClassMaps { found: found_classes, truth, classes: first..2 });
    }
    let truth = true_classes(plan, truth, Some(channels as u16))?;
    let found = likeliest(found)?;
    Ok(ClassMaps { found, truth, classes: first..channels as u16 })
}

/// Reads where a channel of the prediction is above the threshold, and where the same
/// channel of the truth is.
///
/// # Errors
/// Sizes or numbers of channels that differ.
pub fn channel_maps(
    plan: &EvaluationPlan,
    found: &dyn VolumeReader,
    truth: &dyn VolumeReader,
    channel: usize,
) -> Result<ClassMaps> {
    same_size(found, truth)?;
    ensure!(
        found.channels() == truth.channels(),
        "{} has {} channel(s), {} {}: channels that are compared one by one have to be the same",
        found.describe(),
        found.channels(),
        truth.describe(),
        truth.channels()
    );
    let found = channel_above(plan, found, channel)?;
    let size = truth.size();
    let part = truth.read_part(channel..channel + 1, &Window::whole(size), 1)?;
    let values = whole_numbers(part.cast(Element::F64).values, truth)?;
    let class = |value: i64| match value {
        _ if value < 0 || Some(value) == plan.ignored => IGNORED,
        value => u16::from(value > 0),
    };
    Ok(ClassMaps { found, truth: values.into_iter().map(class).collect(), classes: 1..2 })
}

fn channel_above(
    plan: &EvaluationPlan,
    found: &dyn VolumeReader,
    channel: usize,
) -> Result<Vec<u16>> {
    let part = found.read_part(channel..channel + 1, &Window::whole(found.size()), 1)?;
    let scale = crate::instances::probability_scale(found)?;
    let limit = limit(plan.threshold);
    let values = part.into_f32();
    warn_of_nan(found, values.iter().filter(|value| value.is_nan()).count() as u64);
    Ok(values.iter().map(|value| u16::from(value * scale > limit)).collect())
}

fn warn_of_nan(found: &dyn VolumeReader, nan: u64) {
    if nan > 0 {
        warn!("{}: {nan} value(s) are NaN and count as the least", found.describe());
    }
}

/// The channel of the largest value; of equals the first.
fn likeliest(found: &dyn VolumeReader) -> Result<Vec<u16>> {
    let [_, height, width] = found.size();
    let voxels = found.size().iter().product();
    let mut best = vec![f32::NEG_INFINITY; voxels];
    let mut class = vec![0u16; voxels];
    let mut nan = 0;
    for (channels, window) in found.tiles(PART) {
        let part = found.read_part(channels.clone(), &window, 1)?.into_f32();
        for (channel, slices) in channels.zip(part.outer_iter()) {
            for (z, slice) in slices.outer_iter().enumerate() {
                let at = ((window.origin[0] + z) * height + window.origin[1]) * width;
                let (best, class) = (&mut best[at..], &mut class[at..]);
                for ((value, best), class) in slice.iter().zip(best).zip(class) {
                    nan += u64::from(value.is_nan());
                    if *value > *best {
                        *best = *value;
                        *class = channel as u16;
                    }
                }
            }
        }
    }
    warn_of_nan(found, nan);
    Ok(class)
}

/// Reads the class of each voxel of the truth; with `classes`, others are errors.
fn true_classes(
    plan: &EvaluationPlan,
    truth: &dyn VolumeReader,
    classes: Option<u16>,
) -> Result<Vec<u16>> {
    if truth.channels() == 1 {
        let labels = labelled(plan, truth, true)?;
        if let Some(classes) = classes
            && let Some(label) =
                labels.iter().find(|label| **label != IGNORED && **label >= classes)
        {
            bail!(
                "{} has the class {label}, but the prediction has the classes 0 to {}; to take \
                 every label above 0 as class 1, add --binary; for objects, --kind instances",
                truth.describe(),
                classes - 1
            );
        }
        return Ok(labels);
    }
    if let Some(classes) = classes.filter(|classes| usize::from(*classes) != truth.channels()) {
        bail!(
            "{} has {} channels, but the prediction has {classes} classes",
            truth.describe(),
            truth.channels()
        );
    }
    // One-hot: the class is the channel that is set; voxels without any are ignored.
    let mut labels = vec![IGNORED; truth.size().iter().product()];
    let [_, height, width] = truth.size();
    for (channels, window) in truth.tiles(PART) {
        let part = truth.read_part(channels.clone(), &window, 1)?.into_f32();
        for (channel, slices) in channels.zip(part.outer_iter()) {
            for (z, slice) in slices.outer_iter().enumerate() {
                let at = ((window.origin[0] + z) * height + window.origin[1]) * width;
                for (value, label) in slice.iter().zip(&mut labels[at..]) {
                    if *value > 0.5 && (*label == IGNORED || channel < usize::from(*label)) {
                        *label = channel as u16;
                    }
                }
            }
        }
    }
    Ok(labels)
}

/// Reads a label map as classes. Negative labels of a truth and the one that the plan
/// names are ignored.
fn labelled(plan: &EvaluationPlan, reader: &dyn VolumeReader, truth: bool) -> Result<Vec<u16>> {
    let part = reader.read_part(0..1, &Window::whole(reader.size()), 1)?;
    let values = whole_numbers(part.cast(Element::F64).values, reader)?;
    let mut labels = Vec::with_capacity(values.len());
    for value in values {
        labels.push(if truth && (value < 0 || Some(value) == plan.ignored) {
            IGNORED
        } else if plan.binary {
            u16::from(value > 0)
        } else if (0..i64::from(IGNORED)).contains(&value) {
            value as u16
        } else {
            bail!("{} has the label {value}: classes are 0 to 65534", reader.describe())
        });
    }
    Ok(labels)
}

fn whole_numbers(values: Values, reader: &dyn VolumeReader) -> Result<Vec<i64>> {
    let Values::F64(values) = values else {
        unreachable!("a cast gives the type that was asked for")
    };
    if let Some(value) = values.iter().find(|value| value.fract() != 0.0 || value.is_nan()) {
        bail!("{} holds {value}: labels are whole numbers", reader.describe());
    }
    Ok(values.iter().map(|value| *value as i64).collect())
}

/// Reads two label images. Voxels that are negative in the truth, or have the label that
/// the plan ignores, become 0 in both with `keep`, else they are left out.
///
/// # Errors
/// Sizes that differ, several channels, and values that are no labels.
pub fn label_images(
    plan: &EvaluationPlan,
    found: &dyn VolumeReader,
    truth: &dyn VolumeReader,
    keep: bool,
) -> Result<(Vec<i64>, Vec<i64>)> {
    same_size(found, truth)?;
    let read = |reader: &dyn VolumeReader| -> Result<Vec<i64>> {
        ensure!(
            reader.channels() == 1,
            "{} has {} channels: a label image has one. `unet3d instances` makes one of \
             probabilities",
            reader.describe(),
            reader.channels()
        );
        let part = reader.read_part(0..1, &Window::whole(reader.size()), 1)?;
        whole_numbers(part.cast(Element::F64).values, reader)
    };
    let (mut found_labels, mut truth_labels) = (read(found)?, read(truth)?);
    if let Some(label) = found_labels.iter().find(|label| **label < 0) {
        bail!("{} holds the label {label}: objects are numbered from 1", found.describe());
    }
    let left_out = |label: i64| label < 0 || Some(label) == plan.ignored;
    if truth_labels.iter().any(|label| left_out(*label)) {
        if keep {
            for (found, truth) in found_labels.iter_mut().zip(&mut truth_labels) {
                if left_out(*truth) {
                    (*found, *truth) = (0, 0);
                }
            }
        } else {
            let pairs = found_labels.into_iter().zip(truth_labels);
            (found_labels, truth_labels) = pairs.filter(|(_, truth)| !left_out(*truth)).unzip();
        }
    }
    Ok((found_labels, truth_labels))
}

/// The labels of an image, numbered.
pub fn numbered(labels: Vec<i64>) -> LabelImage {
    LabelImage::new(&labels)
}
