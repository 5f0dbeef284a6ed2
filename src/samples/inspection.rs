//! Labels and weights that a training cannot mean: found when a file is opened, told
//! with the voxel that has them.
//!
//! NaN and infinite values are errors. What can be trained with, but hardly is what was
//! wanted, is a warning: labels that lose a fraction, weights below 0, a weight map of
//! zeros, patches in which nothing counts. Sparse labels, weights of 0 and patches that
//! are ignored in part are nothing unusual.

use std::ops::ControlFlow;

use anyhow::{Result, bail};
use log::warn;

use crate::volume::{Element, Sample, Source, Volume, VolumeReader, Voxels, Window};
use crate::with_values;

/// What of labels and weights counts in the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counting {
    /// The label whose voxels do not count.
    pub ignored: Option<i64>,
    /// Whether voxels count by their weights.
    pub weighted: bool,
}

/// Looks at the labels of a file. `cut`: whether transforms turn them into integers.
///
/// # Errors
/// A label that is NaN or infinite, a file that cannot be read.
pub(super) fn labels(source: &Source, reader: &dyn VolumeReader, cut: bool) -> Result<()> {
    if !source.element().is_float() {
        return Ok(());
    }
    let mut found = Found::default();
    let fine = |value: f64| value.is_finite() && !(cut && value.fract() != 0.0);
    found.look_at(source, fine, |_| false)?;
    let Some((value, voxel)) = found.first_infinite.or(found.first) else { return Ok(()) };
    let (name, place) = (reader.describe(), place(reader, voxel));
    if !value.is_finite() {
        bail!(
            "{name}: the label at {place} is {value}, and no label; mark voxels without a label by \
             a number and set `loss.ignore_index` to it, or give them the weight 0"
        );
    }
    warn!(
        "{name}: the label at {place} is {value}{}: labels that are turned into integers lose \
         their fraction",
        found.others()
    );
    Ok(())
}

/// Looks at the weights of a file.
///
/// # Errors
/// A weight that is NaN or infinite, a file that cannot be read.
pub(super) fn weights(source: &Source, reader: &dyn VolumeReader) -> Result<()> {
    let mut found = Found::default();
    // Of these types, only zeros throughout are unusual.
    let unsigned = matches!(source.element(), Element::U8 | Element::U16);
    let enough = |found: &Found| unsigned && found.any_above_zero;
    found.look_at(source, |value| value.is_finite() && value >= 0.0, enough)?;
    let name = reader.describe();
    if let Some((value, voxel)) = found.first_infinite.or(found.first) {
        let place = place(reader, voxel);
        if !value.is_finite() {
            bail!(
                "{name}: the weight at {place} is {value}, with which no loss can be computed; \
                 write numbers from 0 upwards"
            );
        }
        warn!(
            "{name}: the weight at {place} is {value}{}: where weights are negative, training \
             makes the error larger",
            found.others()
        );
    } else if !found.any_above_zero {
        warn!("{name}: all weights are 0: where the loss uses them, nothing of this file counts");
    }
    Ok(())
}

/// Whether nothing of a sample counts in the loss.
pub(super) fn is_idle(sample: &Sample, counting: Counting) -> bool {
    let label = sample.label.as_ref().zip(counting.ignored);
    let label = label.map(|(label, ignored)| counts(label, ignored as f64));
    let weight = sample.weight.as_ref().filter(|_| counting.weighted);
    let weight = weight.map(|weight| counts(weight, 0.0));
    let size = match (&sample.label, &sample.weight) {
        (Some(voxels), _) | (None, Some(voxels)) => voxels.size(),
        (None, None) => return false,
    };
    all_idle(&label, &weight, &Window::whole(size))
}

/// The windows of a file in which nothing counts; none if its volumes are not held in
/// memory.
pub(super) fn idle_windows(
    label: &Source,
    weight: Option<&Source>,
    windows: &[Window],
    counting: Counting,
) -> Vec<usize> {
    let in_memory = |source: &'_ Source| match source {
        Source::Memory(voxels) => Some(voxels.clone()),
        Source::File(_) => None,
    };
    let Some(label) = in_memory(label) else { return Vec::new() };
    let weight = weight.filter(|_| counting.weighted).and_then(in_memory);
    let label = counting.ignored.map(|ignored| counts(&label, ignored as f64));
    let weight = weight.as_deref().map(|weight| counts(weight, 0.0));
    let idle = |index: &usize| all_idle(&label, &weight, &windows[*index]);
    (0..windows.len()).filter(idle).collect()
}

/// Whether a voxel (z, y, x) counts.
type Counts<'a> = Box<dyn Fn([usize; 3]) -> bool + 'a>;

/// Voxels count if some channel of them is not `idle`.
fn counts(voxels: &Voxels, idle: f64) -> Counts<'_> {
    match voxels {
        Voxels::Dense(volume) => with_values!(&volume.values, a => {
            let channels = a.dim().0;
            Box::new(move |[z, y, x]| (0..channels).any(|c| a[[c, z, y, x]] as f64 != idle))
        }),
        // Of zeros and ones: some channel always differs.
        Voxels::OneHot(_) => Box::new(|_| true),
        Voxels::Palette(palette) => {
            let rows: Vec<bool> = with_values!(&palette.table, table => {
                table.rows().into_iter().map(|row| row.iter().any(|&w| w as f64 != idle)).collect()
            });
            Box::new(move |[z, y, x]| rows[usize::from(palette.indices[[0, z, y, x]])])
        }
    }
}

fn all_idle(label: &Option<Counts<'_>>, weight: &Option<Counts<'_>>, window: &Window) -> bool {
    if label.is_none() && weight.is_none() {
        return false;
    }
    let counts =
        |voxel: [usize; 3]| [label, weight].into_iter().flatten().all(|counts| counts(voxel));
    let [z, y, x] = [0, 1, 2].map(|axis| window.range(axis));
    !z.into_iter().any(|z| y.clone().any(|y| x.clone().any(|x| counts([z, y, x]))))
}

/// Values that are not as they should be, and where (c, z, y, x) they were first met.
#[derive(Debug, Default)]
struct Found {
    count: u64,
    first: Option<(f64, [usize; 4])>,
    first_infinite: Option<(f64, [usize; 4])>,
    any_above_zero: bool,
}

impl Found {
    fn look_at(
        &mut self,
        source: &Source,
        fine: impl Fn(f64) -> bool,
        enough: impl Fn(&Found) -> bool,
    ) -> Result<()> {
        if let Source::Memory(voxels) = source
            && let Voxels::Palette(palette) = &**voxels
        {
            // Each column once: then a volume of few numbers says where they are.
            let table = Volume { values: palette.table.clone(), has_channels: false };
            let mut columns = Found::default();
            columns.add(&table, [0; 4], &fine);
            self.any_above_zero = columns.any_above_zero;
            let Some((value, [_, _, column, channel])) = columns.first_infinite.or(columns.first)
            else {
                return Ok(());
            };
            let is_there = |index: &u16| usize::from(*index) == column;
            self.count = palette.indices.iter().filter(|index| is_there(index)).count() as u64;
            let mut voxels = palette.indices.indexed_iter();
            let first = voxels.find(|(_, index)| is_there(index));
            let voxel = first.map_or([0; 4], |((_, z, y, x), _)| [channel, z, y, x]);
            self.first = Some((value, voxel));
            return Ok(());
        }
        source.visit(|part, corner| {
            self.add(part, corner, &fine);
            match enough(self) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
    }

    fn add(&mut self, part: &Volume, corner: [usize; 4], fine: &impl Fn(f64) -> bool) {
        /// Values that are looked at together: mostly all of them are fine.
        const BLOCK: usize = 4096;
        let [d, h, w] = part.size();
        with_values!(&part.values, array => {
            let array = array.as_standard_layout();
            let values = array.as_slice().unwrap_or_default();
            for (number, block) in values.chunks(BLOCK).enumerate() {
                if !self.any_above_zero {
                    self.any_above_zero = block.iter().any(|&value| value as f64 != 0.0);
                }
                if block.iter().all(|&value| fine(value as f64)) {
                    continue;
                }
                for (offset, &value) in block.iter().enumerate() {
                    let value = value as f64;
                    if fine(value) {
                        continue;
                    }
                    let i = number * BLOCK + offset;
                    let voxel = [i / (d * h * w), i / (h * w) % d, i / w % h, i % w];
                    let voxel = std::array::from_fn(|axis| corner[axis] + voxel[axis]);
                    self.count += 1;
                    self.first.get_or_insert((value, voxel));
                    if !value.is_finite() {
                        self.first_infinite.get_or_insert((value, voxel));
                    }
                }
            }
        });
    }

    /// How many there are besides the first.
    fn others(&self) -> String {
        match self.count {
            0 | 1 => String::new(),
            count => format!(" (and {} more such values)", count - 1),
        }
    }
}

fn place(reader: &dyn VolumeReader, [c, z, y, x]: [usize; 4]) -> String {
    match reader.has_channels() {
        true => format!("channel {c}, z {z}, y {y}, x {x}"),
        false => format!("z {z}, y {y}, x {x}"),
    }
}

/// Tells of the patches of a file in which nothing counts. `first` is one of them.
pub(super) fn warn_of_idle(file: &std::path::Path, number: usize, all: usize, first: &Window) {
    warn!(
        "{}: {number} of {all} patches are ignored throughout, the first at {first}: their labels \
         are `loss.ignore_index` or their weights are 0, and nothing is learned from them",
        file.display()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::{OneHot, Palette};
    use ndarray::Array4;

    fn sample(label: Array4<i64>, weight: Option<Array4<f32>>) -> Sample {
        let weight = weight.map(|weight| Volume::plain(weight).into());
        let raw = Volume::plain(Array4::<f32>::zeros(label.dim()));
        Sample { raw, label: Some(Volume::plain(label).into()), weight }
    }

    #[test]
    fn a_sample_is_idle_only_if_nothing_in_it_counts() {
        let ignoring = Counting { ignored: Some(-1), weighted: false };
        let both = Counting { ignored: Some(-1), weighted: true };
        let mut label = Array4::from_elem((1, 2, 3, 4), -1i64);
        assert!(is_idle(&sample(label.clone(), None), ignoring));
        assert!(!is_idle(&sample(label.clone(), None), Counting::default()));
        label[[0, 1, 2, 3]] = 1;
        assert!(!is_idle(&sample(label.clone(), None), ignoring));
        let mut weight = Array4::<f32>::ones((1, 2, 3, 4));
        weight[[0, 1, 2, 3]] = 0.0;
        assert!(is_idle(&sample(label.clone(), Some(weight.clone())), both));
        assert!(!is_idle(&sample(label, Some(weight)), ignoring));
    }

    #[test]
    fn compact_forms_count_as_what_they_stand_for() {
        let one_hot =
            OneHot { indices: Array4::zeros((1, 1, 1, 2)), classes: 9, element: Element::U8 };
        let table = Array4::from_shape_vec((1, 1, 2, 2), vec![0i32, 0, 0, 5]).unwrap();
        let indices = Array4::from_shape_vec((1, 1, 1, 2), vec![0u16, 1]).unwrap();
        let label: Source = Voxels::OneHot(one_hot).into();
        let weight: Source = Voxels::Palette(Palette { indices, table: table.into() }).into();
        let windows = [[0, 0, 0], [0, 0, 1]].map(|origin| Window::new(origin, [1, 1, 1]));
        let counting = Counting { ignored: Some(0), weighted: true };
        assert_eq!(idle_windows(&label, Some(&weight), &windows, counting), [0]);
        let mut found = Found::default();
        found.look_at(&weight, |value| value <= 0.0, |_| false).unwrap();
        assert_eq!((found.first, found.count), (Some((5.0, [1, 0, 0, 1])), 1));
    }
}
