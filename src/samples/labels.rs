//! Finds labels that the network has no class for, before they reach a device.
//!
//! On a GPU such a label does not give an error but an aborted context.

use crate::volume::{Element, Values, Volume, Voxels};

/// The labels that a loss on class indices can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelCheck {
    /// Labels are 0, …, `classes` − 1.
    pub classes: usize,
    /// One more label that the loss leaves out.
    pub ignore_index: Option<i64>,
}

/// A label outside the classes and the first voxel (c, z, y, x) that has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outside {
    pub value: f64,
    pub voxel: [usize; 4],
}

impl LabelCheck {
    /// The first voxel whose label is none of the classes, if there is one. Labels
    /// in compact forms have a channel for each class and cannot be outside.
    pub fn find(&self, label: &Voxels) -> Option<Outside> {
        match label {
            Voxels::Dense(label) => self.find_dense(label),
            Voxels::OneHot(_) | Voxels::Palette(_) => None,
        }
    }

    fn find_dense(&self, label: &Volume) -> Option<Outside> {
        let classes = self.classes;
        let ignored = self.ignore_index;
        macro_rules! integers {
            ($array:expr) => {{
                let fits = |&value: &_| {
                    usize::try_from(value).is_ok_and(|value| value < classes)
                        || ignored.is_some_and(|ignored| i64::from(value) == ignored)
                };
                $array.iter().position(|value| !fits(value))
            }};
        }
        macro_rules! floats {
            ($array:expr) => {{
                $array.iter().position(|&value| {
                    let value = f64::from(value);
                    let fits = value.fract() == 0.0 && value >= 0.0 && value < classes as f64;
                    !fits && ignored.is_none_or(|ignored| value != ignored as f64)
                })
            }};
        }
        let place = match &label.values {
            Values::U8(a) => integers!(a),
            Values::U16(a) => integers!(a),
            Values::I32(a) => integers!(a),
            Values::I64(a) => integers!(a),
            Values::F32(a) => floats!(a),
            Values::F64(a) => floats!(a),
        }?;
        let [d, h, w] = label.size();
        let voxel = [place / (d * h * w), place / (h * w) % d, place / w % h, place % w];
        Some(Outside { value: at(label, voxel), voxel })
    }

    /// What to tell the user.
    pub fn message(&self, value: f64) -> String {
        let ignored = match self.ignore_index {
            Some(ignored) => format!(" or `loss.ignore_index` ({ignored})"),
            None => ", and `loss.ignore_index` is not set".to_string(),
        };
        format!(
            "the label {value} is no class of the network, which has {} (0 to {}){ignored}; \
             set `model.out_channels` or correct the labels",
            self.classes,
            self.classes - 1
        )
    }
}

fn at(volume: &Volume, voxel: [usize; 4]) -> f64 {
    crate::with_values!(&volume.values, a => a[voxel] as f64)
}

/// The first voxel (c, z, y, x) that holds a value.
pub(super) fn position(volume: &Volume, value: f64) -> Option<[usize; 4]> {
    let volume = volume.clone().cast(Element::F64);
    let Values::F64(array) = &volume.values else { return None };
    array.indexed_iter().find(|(_, found)| **found == value).map(|((c, z, y, x), _)| [c, z, y, x])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array4;

    #[test]
    fn the_first_label_outside_is_found() {
        let check = LabelCheck { classes: 3, ignore_index: None };
        let mut array = Array4::<i64>::zeros((1, 2, 3, 4));
        array[[0, 0, 1, 2]] = 2;
        assert_eq!(check.find(&Volume::plain(array.clone()).into()), None);
        array[[0, 1, 0, 3]] = 3;
        array[[0, 1, 2, 0]] = -1;
        let found = check.find(&Volume::plain(array.clone()).into());
        assert_eq!(found, Some(Outside { value: 3.0, voxel: [0, 1, 0, 3] }));
        let ignoring = LabelCheck { ignore_index: Some(3), ..check };
        let found = ignoring.find(&Volume::plain(array).into());
        assert_eq!(found, Some(Outside { value: -1.0, voxel: [0, 1, 2, 0] }));
    }

    #[test]
    fn a_fraction_is_no_class() {
        let check = LabelCheck { classes: 3, ignore_index: Some(-1) };
        let mut array = Array4::<f32>::zeros((1, 1, 1, 4));
        array[[0, 0, 0, 1]] = -1.0;
        array[[0, 0, 0, 2]] = 0.5;
        let found = check.find(&Volume::plain(array.clone()).into()).unwrap();
        assert_eq!((found.value, found.voxel), (0.5, [0, 0, 0, 2]));
        array[[0, 0, 0, 2]] = f32::NAN;
        assert!(check.find(&Volume::plain(array).into()).unwrap().value.is_nan());
        let bytes = Volume::plain(Array4::<u8>::from_elem((1, 1, 1, 1), 255));
        assert_eq!(check.find(&bytes.into()).unwrap().value, 255.0);
    }
}
