//! Predictions and truth as classes or labels of voxels, a few slices at a time.

use std::ops::Range;

use anyhow::{Result, bail, ensure};
use log::{info, warn};

use crate::instances::{Strange, probability_scale};
use crate::regions::runs::limit;
use crate::volume::{Element, VolumeReader, Window};
use crate::with_values;

use super::plan::EvaluationPlan;
use super::semantic::IGNORED;

/// Bytes of the parts in which volumes are read, about.
const PART: usize = 32 << 20;

/// Ranges of slices that cover two volumes of one size, along the lines between chunks. The
/// scores do not depend on them.
pub fn slabs(found: &dyn VolumeReader, truth: &dyn VolumeReader) -> Vec<Range<usize>> {
    let [depth, height, width] = found.size();
    let chunk = |reader: &dyn VolumeReader| reader.chunk_shape().map_or(1, |shape| shape[1].max(1));
    let (a, b) = (chunk(found), chunk(truth));
    // Chunks of one volume that end within those of the other are decoded twice at most.
    let chunk = a.max(b);
    let slice = (height * width * 8).max(1);
    let step = (PART / slice / chunk).max(1) * chunk;
    (0..depth).step_by(step).map(|z| z..(z + step).min(depth)).collect()
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

/// Classes of the voxels of some slices (d, H, W).
pub struct ClassSlices {
    pub found: Vec<u16>,
    /// [`IGNORED`] where nothing is to be scored.
    pub truth: Vec<u16>,
    /// Values of the prediction that are no probabilities.
    pub strange: Strange,
}

/// What the classes of a prediction are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Classes {
    /// A label for each voxel.
    Labels,
    /// One channel, above the threshold or not.
    Above { channel: usize },
    /// The channel of the largest value.
    Likeliest,
}

/// A prediction and its truth as classes.
pub struct ClassVolumes<'a> {
    plan: EvaluationPlan,
    found: &'a dyn VolumeReader,
    truth: &'a dyn VolumeReader,
    from: Classes,
    /// The channel of the truth that counts, if it is compared channel by channel.
    true_channel: Option<usize>,
    scale: f32,
    threads: usize,
}

impl<'a> ClassVolumes<'a> {
    /// The classes of a prediction: its labels, where its one channel is above the
    /// threshold, or the likeliest of its channels.
    ///
    /// # Errors
    /// Sizes or numbers of classes that do not fit together.
    pub fn new(
        plan: &EvaluationPlan,
        found: &'a dyn VolumeReader,
        truth: &'a dyn VolumeReader,
        threads: usize,
    ) -> Result<ClassVolumes<'a>> {
        same_size(found, truth)?;
        let channels = found.channels();
        ensure!(channels < usize::from(IGNORED), "{} has {channels} channels", found.describe());
        let mut plan = plan.clone();
        let from = match channels {
            1 if !found.element().is_float() && !is_scaled(found) => Classes::Labels,
            1 => {
                plan.binary = true;
                Classes::Above { channel: 0 }
            }
            _ => Classes::Likeliest,
        };
        let volumes =
            ClassVolumes { plan, found, truth, from, true_channel: None, scale: 1.0, threads };
        if let Some(classes) = volumes.classes_of_channels()
            && truth.channels() > 1
            && usize::from(classes) != truth.channels()
        {
            bail!(
                "{} has {} channels, but the prediction has {classes} classes",
                truth.describe(),
                truth.channels()
            );
        }
        volumes.scaled()
    }

    /// Where a channel of the prediction is above the threshold, and where the same channel
    /// of the truth is.
    ///
    /// # Errors
    /// Sizes or numbers of channels that differ.
    pub fn of_channel(
        plan: &EvaluationPlan,
        found: &'a dyn VolumeReader,
        truth: &'a dyn VolumeReader,
        channel: usize,
        threads: usize,
    ) -> Result<ClassVolumes<'a>> {
        same_size(found, truth)?;
        ensure!(
            found.channels() == truth.channels(),
            "{} has {} channel(s), {} {}: channels that are compared one by one have to be the \
             same",
            found.describe(),
            found.channels(),
            truth.describe(),
            truth.channels()
        );
        let plan = EvaluationPlan { binary: true, ..plan.clone() };
        let from = Classes::Above { channel };
        let true_channel = Some(channel);
        ClassVolumes { plan, found, truth, from, true_channel, scale: 1.0, threads }.scaled()
    }

    fn scaled(mut self) -> Result<Self> {
        if let Classes::Above { .. } = self.from {
            self.scale = probability_scale(self.found)?;
            if self.scale != 1.0 {
                info!(
                    "{}: stored as {}, of which {} stands for probability 1",
                    self.found.describe(),
                    self.found.element().name(),
                    (1.0 / self.scale).round()
                );
            }
        }
        Ok(self)
    }

    /// How many classes the channels of the prediction are; `None` for labels.
    fn classes_of_channels(&self) -> Option<u16> {
        match self.from {
            Classes::Labels => None,
            Classes::Above { .. } => Some(2),
            Classes::Likeliest => Some(self.found.channels() as u16),
        }
    }

    /// The first class that is scored.
    pub fn first(&self) -> u16 {
        match self.true_channel {
            Some(_) => 1,
            None => u16::from(!self.plan.background),
        }
    }

    /// The classes that are scored, where `most` is the highest label of either volume.
    pub fn scored(&self, most: u16) -> Range<u16> {
        let end = self.classes_of_channels().unwrap_or(most.max(1) + 1);
        self.first()..end
    }

    /// Reads some slices.
    ///
    /// # Errors
    /// Classes of the truth that the prediction cannot have.
    pub fn read(&self, slices: &Range<usize>) -> Result<ClassSlices> {
        let mut strange = Strange::default();
        let found = match self.from {
            Classes::Labels => self.labels(self.found, slices, false)?,
            Classes::Above { channel } => self.above(channel, slices, &mut strange)?,
            Classes::Likeliest => self.likeliest(slices, &mut strange)?,
        };
        Ok(ClassSlices { found, truth: self.true_classes(slices)?, strange })
    }

    /// Tells of values that are no probabilities.
    pub fn warn(&self, strange: &Strange) {
        let name = self.found.describe();
        if strange.nan > 0 {
            warn!("{name}: {} value(s) are NaN and count as the least", strange.nan);
        }
        if self.found.element().is_float() && strange.below_zero + strange.above_one > 0 {
            warn!(
                "{name}: {} value(s) are negative and {} above 1: are these probabilities?",
                strange.below_zero, strange.above_one
            );
        }
    }

    fn above(
        &self,
        channel: usize,
        slices: &Range<usize>,
        strange: &mut Strange,
    ) -> Result<Vec<u16>> {
        let window = window(self.found, slices);
        let part = self.found.read_part(channel..channel + 1, &window, self.threads)?;
        let limit = limit(self.plan.threshold);
        let (mut values, _) = part.into_f32().into_raw_vec_and_offset();
        values.iter_mut().for_each(|value| *value *= self.scale);
        strange.count(&values);
        Ok(values.iter().map(|value| u16::from(*value > limit)).collect())
    }

    /// The channel of the largest value; of equals the first.
    fn likeliest(&self, slices: &Range<usize>, strange: &mut Strange) -> Result<Vec<u16>> {
        let window = window(self.found, slices);
        let voxels: usize = window.size.iter().product();
        let mut best = vec![f32::NEG_INFINITY; voxels];
        let mut class = vec![0u16; voxels];
        for channels in channel_groups(self.found, voxels) {
            let part = self.found.read_part(channels.clone(), &window, self.threads)?.into_f32();
            for (channel, values) in channels.zip(part.outer_iter()) {
                strange.count(values.as_slice().unwrap_or_default());
                for ((value, best), class) in values.iter().zip(&mut best).zip(&mut class) {
                    if *value > *best {
                        *best = *value;
                        *class = channel as u16;
                    }
                }
            }
        }
        Ok(class)
    }

    /// The class of each voxel of the truth.
    fn true_classes(&self, slices: &Range<usize>) -> Result<Vec<u16>> {
        let truth = self.truth;
        if self.true_channel.is_some() || truth.channels() == 1 {
            let labels = self.labels(truth, slices, true)?;
            if let Some(classes) = self.classes_of_channels()
                && let Some(label) =
                    labels.iter().find(|label| **label != IGNORED && **label >= classes)
            {
                bail!(
                    "{} has the class {label}, but the prediction has the classes 0 to {}; to \
                     take every label above 0 as class 1, add --binary; for objects, --kind \
                     instances",
                    truth.describe(),
                    classes - 1
                );
            }
            return Ok(labels);
        }
        // One-hot: the class is the channel that is set; voxels without any are ignored.
        let window = window(truth, slices);
        let voxels: usize = window.size.iter().product();
        let mut labels = vec![IGNORED; voxels];
        for channels in channel_groups(truth, voxels) {
            let part = truth.read_part(channels.clone(), &window, self.threads)?.into_f32();
            for (channel, values) in channels.zip(part.outer_iter()) {
                for (value, label) in values.iter().zip(&mut labels) {
                    if *value > 0.5 && *label == IGNORED {
                        *label = channel as u16;
                    }
                }
            }
        }
        Ok(labels)
    }

    /// Reads labels as classes. Negative labels of a truth and the one that the plan names
    /// are ignored.
    fn labels(
        &self,
        reader: &dyn VolumeReader,
        slices: &Range<usize>,
        truth: bool,
    ) -> Result<Vec<u16>> {
        let channel = if truth { self.true_channel.unwrap_or(0) } else { 0 };
        let plan = &self.plan;
        let class = |value: i64| {
            Ok(if truth && (value < 0 || Some(value) == plan.ignored) {
                IGNORED
            } else if plan.binary {
                u16::from(value > 0)
            } else if (0..i64::from(IGNORED)).contains(&value) {
                value as u16
            } else {
                bail!("{} has the label {value}: classes are 0 to 65534", reader.describe())
            })
        };
        let values = whole_numbers(reader, channel, slices, self.threads)?;
        // Most voxels have the class of the one before.
        let mut last: Option<(i64, u16)> = None;
        let mut classes = Vec::with_capacity(values.len());
        for value in values {
            let known = match last {
                Some((known, class)) if known == value => class,
                _ => {
                    let class = class(value)?;
                    last = Some((value, class));
                    class
                }
            };
            classes.push(known);
        }
        Ok(classes)
    }
}

/// Whether the one channel of a prediction is a probability that is stored as bytes or
/// uint16: a map of labels has no channel axis.
fn is_scaled(found: &dyn VolumeReader) -> bool {
    found.has_channels() && matches!(found.element(), Element::U8 | Element::U16)
}

fn window(reader: &dyn VolumeReader, slices: &Range<usize>) -> Window {
    let [_, height, width] = reader.size();
    Window::new([slices.start, 0, 0], [slices.len(), height, width])
}

/// Channels that are read at a time.
fn channel_groups(reader: &dyn VolumeReader, voxels: usize) -> impl Iterator<Item = Range<usize>> {
    let channels = reader.channels();
    let bytes = (voxels * reader.element().size()).max(1);
    let chunk = reader.chunk_shape().map_or(1, |shape| shape[0].max(1));
    let step = (PART / bytes / chunk).max(1) * chunk;
    (0..channels).step_by(step).map(move |c| c..(c + step).min(channels))
}

/// The values of some slices of a channel as whole numbers.
///
/// # Errors
/// Values that are no whole numbers.
fn whole_numbers(
    reader: &dyn VolumeReader,
    channel: usize,
    slices: &Range<usize>,
    threads: usize,
) -> Result<Vec<i64>> {
    let part = reader.read_part(channel..channel + 1, &window(reader, slices), threads)?;
    if reader.element().is_float() {
        let mut broken = None;
        with_values!(&part.values, values => for value in values {
            let value = *value as f64;
            if value.fract() != 0.0 || value.is_nan() {
                broken = Some(value);
                break;
            }
        });
        if let Some(value) = broken {
            bail!("{} holds {value}: labels are whole numbers", reader.describe());
        }
    }
    Ok(with_values!(&part.values, values => values.iter().map(|value| *value as i64).collect()))
}

/// Two label images of one size.
pub struct LabelVolumes<'a> {
    plan: &'a EvaluationPlan,
    found: &'a dyn VolumeReader,
    truth: &'a dyn VolumeReader,
    threads: usize,
}

/// Labels of the voxels of some slices (d, H, W).
pub struct LabelSlices {
    pub found: Vec<i64>,
    pub truth: Vec<i64>,
}

impl<'a> LabelVolumes<'a> {
    /// # Errors
    /// Sizes that differ, and several channels.
    pub fn new(
        plan: &'a EvaluationPlan,
        found: &'a dyn VolumeReader,
        truth: &'a dyn VolumeReader,
        threads: usize,
    ) -> Result<LabelVolumes<'a>> {
        same_size(found, truth)?;
        for reader in [found, truth] {
            ensure!(
                reader.channels() == 1,
                "{} has {} channels: a label image has one. `unet3d instances` makes one of \
                 probabilities",
                reader.describe(),
                reader.channels()
            );
        }
        Ok(LabelVolumes { plan, found, truth, threads })
    }

    /// Reads some slices, and whether each voxel is left out: it is negative in the truth,
    /// or has the label that the plan ignores.
    ///
    /// # Errors
    /// Values that are no labels.
    pub fn read(&self, slices: &Range<usize>) -> Result<LabelSlices> {
        let read = |reader| whole_numbers(reader, 0, slices, self.threads);
        let (found, truth) = (read(self.found)?, read(self.truth)?);
        if let Some(label) = found.iter().find(|label| **label < 0) {
            bail!("{} holds the label {label}: objects are numbered from 1", self.found.describe());
        }
        Ok(LabelSlices { found, truth })
    }

    /// Whether voxels of that true label are left out.
    pub fn leaves_out(&self, truth: i64) -> bool {
        truth < 0 || Some(truth) == self.plan.ignored
    }
}
