//! Functions for transforms of labels: comparing voxels of any type, and stacking masks and
//! labels as channels.

use ndarray::{Array4, Axis};

use super::{ShapeError, VolumeShape};
use crate::config::{Parameter, Section};
use crate::volume::{Element, Values, Volume};
use crate::with_values;

/// A type of label voxels.
pub trait Label: Copy + PartialEq + PartialOrd {
    const ZERO: Self;

    fn is(self, value: i64) -> bool;
    fn is_above(self, value: i64) -> bool;
}

macro_rules! integer_label {
    ($($type:ty),*) => {
        $(impl Label for $type {
            const ZERO: Self = 0;

            fn is(self, value: i64) -> bool {
                i64::from(self) == value
            }

            fn is_above(self, value: i64) -> bool {
                i64::from(self) > value
            }
        })*
    };
}
integer_label!(u8, u16, i32, i64);

macro_rules! float_label {
    ($($type:ty),*) => {
        $(impl Label for $type {
            const ZERO: Self = 0.0;

            fn is(self, value: i64) -> bool {
                f64::from(self) == value as f64
            }

            fn is_above(self, value: i64) -> bool {
                f64::from(self) > value as f64
            }
        })*
    };
}
float_label!(f32, f64);

pub const APPEND_LABEL: Parameter =
    Parameter::flag("append_label", false, "the label itself becomes the last channel");

pub const IGNORE_INDEX: Parameter = Parameter::integer(
    "ignore_index",
    0,
    "where the label has this value, so have the channels made of it",
)
.optional();

/// The values of `append_label` and `ignore_index`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras {
    pub append_label: bool,
    pub ignore_index: Option<i64>,
}

impl Extras {
    /// Reads those of the two keys that are in the table of the section.
    pub fn read(section: &Section<'_>, has_ignore_index: bool) -> Self {
        Extras {
            append_label: section.flag(APPEND_LABEL.name),
            ignore_index: has_ignore_index
                .then(|| section.maybe_integer(IGNORE_INDEX.name))
                .flatten(),
        }
    }

    /// The smallest type for masks, the ignored value and, if it is appended, the label.
    pub fn element(&self, label: Element) -> Element {
        let ignored = match self.ignore_index {
            // A label whose type cannot hold the value has no voxel to ignore.
            Some(value) if label != Element::U8 || (0..256).contains(&value) => match value {
                0..256 => Element::U8,
                _ if i32::try_from(value).is_ok() => Element::I32,
                _ => Element::I64,
            },
            _ => Element::U8,
        };
        let label = if self.append_label { label } else { Element::U8 };
        // In this order each type can hold the previous ones.
        let order =
            [Element::U8, Element::U16, Element::I32, Element::I64, Element::F32, Element::F64];
        let place = |element| order.iter().position(|&other| other == element);
        if place(label) < place(ignored) { ignored } else { label }
    }

    /// The shape of `masks` channels made of a label (D, H, W), and of the label itself
    /// if asked for.
    pub fn output_shape(
        &self,
        mut input: VolumeShape,
        masks: usize,
    ) -> Result<VolumeShape, ShapeError> {
        input.wants_3d()?;
        input.channels = Some(masks + self.count());
        let element = self.element(input.element);
        Ok(input.with_element(element))
    }

    /// Number of channels that the appended label adds.
    pub fn count(&self) -> usize {
        usize::from(self.append_label)
    }
}

/// Channels of masks under construction.
pub struct Channels<'a> {
    label: &'a Volume,
    extras: Extras,
    values: Values,
    next: usize,
    /// Buffer of one mask, which is reused.
    mask: Vec<u8>,
}

impl<'a> Channels<'a> {
    /// Allocates `masks` channels of the size of `label` (D, H, W), and one for the label itself
    /// if `extras` ask for it.
    pub fn new(label: &'a Volume, masks: usize, extras: Extras) -> Self {
        let [d, h, w] = label.size();
        let shape = (masks + extras.count(), d, h, w);
        let values = match extras.element(label.element()) {
            Element::U8 => Array4::<u8>::zeros(shape).into(),
            Element::U16 => Array4::<u16>::zeros(shape).into(),
            Element::I32 => Array4::<i32>::zeros(shape).into(),
            Element::I64 => Array4::<i64>::zeros(shape).into(),
            Element::F32 => Array4::<f32>::zeros(shape).into(),
            Element::F64 => Array4::<f64>::zeros(shape).into(),
        };
        Channels { label, extras, values, next: 0, mask: vec![0; d * h * w] }
    }

    /// Adds a channel that `fill` writes to a mask (D·H·W) of undefined content, and restores the
    /// ignored value where the label has it.
    pub fn push(&mut self, fill: impl FnOnce(&mut [u8])) {
        self.push_plain(fill);
        let Some(ignored) = self.extras.ignore_index else { return };
        let index = self.next - 1;
        with_values!(&mut self.values, channels => {
            let mut channel = channels.index_axis_mut(Axis(0), index);
            with_values!(&self.label.values, label => {
                for (to, from) in channel.iter_mut().zip(label) {
                    if from.is(ignored) {
                        *to = ignored as _;
                    }
                }
            });
        });
    }

    /// Like [`Channels::push`], without restoring the ignored value.
    pub fn push_plain(&mut self, fill: impl FnOnce(&mut [u8])) {
        fill(&mut self.mask);
        with_values!(&mut self.values, channels => {
            let mut channel = channels.index_axis_mut(Axis(0), self.next);
            for (to, from) in channel.iter_mut().zip(&self.mask) {
                *to = *from as _;
            }
        });
        self.next += 1;
    }

    /// The channels, with the label as the last one if it is appended.
    pub fn finish(mut self) -> Volume {
        if self.extras.append_label {
            with_values!(&mut self.values, channels => {
                let mut channel = channels.index_axis_mut(Axis(0), self.next);
                with_values!(&self.label.values, label => {
                    for (to, from) in channel.iter_mut().zip(label) {
                        *to = *from as _;
                    }
                });
            });
        }
        Volume::channelled(self.values)
    }
}
