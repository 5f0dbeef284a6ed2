//! What stands in a file for this program alone: attributes, and what the format's own
//! fields for space and channels have no room for. It is JSON, in ASCII.

use serde_json::{Map, Value, json};

use super::single::Attributes;
use super::spool::{Spooled, SpooledVolume};
use crate::volume::{Calibration, LengthUnit};

/// The checksum of the file, which comes first: see [`super::headed`].
pub(super) const CHECKSUM: &str = "checksum";

/// Name of the volume in a file that holds one.
pub const VOLUME: &str = "volume";

/// Names of the channels, a list.
const CHANNELS: &str = "channel_names";

/// As a [`Calibration`] has them.
const SPACING: &str = "spacing_zyx";
const ORIGIN: &str = "origin_zyx";
const DIRECTIONS: &str = "directions_zyx";
const UNIT: &str = "unit";

/// The notes of a file.
pub(super) fn write(spooled: &Spooled, volume: &SpooledVolume, checksum: &str) -> String {
    let mut rest = Map::new();
    rest.insert(VOLUME.into(), volume.name.clone().into());
    for (name, text) in spooled.texts() {
        rest.insert(name, text.into());
    }
    let Calibration { spacing, unit, origin, directions, channels } = &volume.calibration;
    if !channels.is_empty() {
        rest.insert(CHANNELS.into(), json!(channels));
    }
    if let Some(spacing) = spacing {
        rest.insert(SPACING.into(), json!(spacing));
    }
    if let Some(unit) = unit {
        rest.insert(UNIT.into(), unit.symbol().into());
    }
    if let Some(origin) = origin {
        rest.insert(ORIGIN.into(), json!(origin));
    }
    if let Some(directions) = directions {
        rest.insert(DIRECTIONS.into(), json!(directions));
    }
    // The first text that looks like the checksum is the checksum.
    let rest = Value::Object(rest).to_string();
    ascii(&format!("{{\"{CHECKSUM}\":\"{checksum}\",{}", &rest[1..]))
}

/// JSON in which what is not ASCII is written by its number.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter.is_ascii() {
            out.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

/// Notes that were found in a file.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub texts: Attributes,
    own: Calibration,
}

impl Notes {
    /// `None` if the text is none of [`write`]'s.
    pub fn parse(text: &str) -> Option<Notes> {
        let Ok(Value::Object(all)) = serde_json::from_str(text.trim_matches('\0').trim()) else {
            return None;
        };
        all.get(CHECKSUM)?;
        let number3 = |value: &Value| -> Option<[f64; 3]> {
            let numbers = value.as_array()?.iter().map(Value::as_f64).collect::<Option<Vec<_>>>();
            numbers?.try_into().ok()
        };
        let names = all.get(CHANNELS).and_then(Value::as_array);
        let names = names.map(|names| {
            names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
        });
        let rows = all.get(DIRECTIONS).and_then(Value::as_array);
        let own = Calibration {
            spacing: all.get(SPACING).and_then(number3),
            unit: all.get(UNIT).and_then(Value::as_str).and_then(LengthUnit::parse),
            origin: all.get(ORIGIN).and_then(number3),
            directions: rows.and_then(|rows| {
                rows.iter().map(number3).collect::<Option<Vec<_>>>()?.try_into().ok()
            }),
            channels: names.unwrap_or_default(),
        };
        let texts = all
            .into_iter()
            .filter_map(|(key, text)| Some((key, text.as_str()?.to_owned())))
            .collect();
        Some(Notes { texts, own })
    }

    /// What the format's own fields say, completed by the notes as far as these agree.
    /// Whoever changes the fields need not know of the notes.
    pub fn complete(&self, fields: Calibration, channels: usize) -> Calibration {
        let mut found = fields;
        let own = match found.unit {
            Some(unit) => self.own.in_unit(unit),
            None => self.own.clone(),
        };
        let close = |a: [f64; 3], b: [f64; 3]| {
            (0..3).all(|i| (a[i] - b[i]).abs() <= 1e-5 * b[i].abs().max(1e-9))
        };
        match (found.spacing, self.own.spacing) {
            (Some(field), Some(_)) => {
                let agrees = own.spacing.is_some_and(|noted| close(field, noted));
                if !agrees {
                    return found;
                }
                found.spacing = self.own.spacing;
            }
            (None, Some(_)) => found.spacing = self.own.spacing,
            // What some formats say where nothing is known.
            (Some(field), None) if !self.texts.is_empty() && field == [1.0; 3] => {
                found.spacing = None;
            }
            (_, None) => {}
        }
        if self.own.spacing.is_some() || found.unit.is_none() {
            found.unit = self.own.unit.or(found.unit);
        }
        found.origin = self.own.origin.or(found.origin);
        found.directions = self.own.directions.or(found.directions);
        if self.own.channels.len() == channels {
            found.channels.clone_from(&self.own.channels);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_complete_fields_that_agree() {
        let text = "{\"checksum\":\"0\",\"made_by\":\"unet3d\",\"spacing_zyx\":[0.54,0.1,0.1],\
                    \"unit\":\"um\",\"origin_zyx\":[1,2,3],\"channel_names\":[\"a\",\"b\"]}";
        let notes = Notes::parse(text).unwrap();
        assert_eq!(notes.texts["made_by"], "unet3d");
        let field = |z: f64| Calibration {
            spacing: Some([z, f64::from(0.1f32), f64::from(0.1f32)]),
            unit: Some(LengthUnit::Micrometre),
            ..Calibration::default()
        };
        let found = notes.complete(field(f64::from(0.54f32)), 2);
        assert_eq!(found.spacing, Some([0.54, 0.1, 0.1]));
        assert_eq!((found.origin, found.channels.len()), (Some([1.0, 2.0, 3.0]), 2));
        // Somebody has corrected the size of the voxels.
        assert_eq!(notes.complete(field(0.6), 2), field(0.6));
        assert!(Notes::parse("{\"shape\": [1]}").is_none());
        assert_eq!(ascii("µ𝛼"), "\\u00b5\\ud835\\udefc");
    }
}
