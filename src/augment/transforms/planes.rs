//! Planes of rotation, in the form of the key `axes`.

use crate::config::{ConfigError, Section, YamlValue};

/// The three planes of a volume, in the order of the reference's
/// `RandomRotate90` and `RandomAffineTransform`; axes 0, 1, 2 are z, y, x.
pub const ALL: [[usize; 2]; 3] = [[1, 0], [2, 1], [2, 0]];

/// Reads a list of pairs of axes such as `[[1, 2]]`; `None` if the key is absent
/// or null (ask [`Section::is_null`] where the two differ).
///
/// # Errors
/// A value that is not a list of pairs of two different axes out of 0, 1, 2.
pub fn planes(section: &Section<'_>, key: &str) -> Result<Option<Vec<[usize; 2]>>, ConfigError> {
    let Some(node) = section.child(key) else { return Ok(None) };
    let wrong = || {
        node.error(
            "a list of planes is wanted, each a pair of different axes out of 0 (z), 1 (y) \
             and 2 (x), such as [[1, 2]]",
        )
    };
    let axis = |value: &YamlValue| match value {
        YamlValue::Integer(axis @ 0..=2) => Some(*axis as usize),
        _ => None,
    };
    let YamlValue::List(pairs) = &node.value else { return Err(wrong()) };
    let planes: Option<Vec<[usize; 2]>> = pairs
        .iter()
        .map(|pair| match &pair.value {
            YamlValue::List(ends) => match ends.as_slice() {
                [a, b] => Some([axis(&a.value)?, axis(&b.value)?]).filter(|[a, b]| a != b),
                _ => None,
            },
            _ => None,
        })
        .collect();
    planes.filter(|planes| !planes.is_empty()).map(Some).ok_or_else(wrong)
}
