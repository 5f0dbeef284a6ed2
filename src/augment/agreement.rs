//! Checks that the lists of raw, label and weight move voxels in the same way.

use serde_json::Value as JsonValue;

use super::step::TransformStep;
use super::{TransformClass, TransformEntry};
use crate::config::{Fallback, Kind, Node, Parameter, YamlValue, number_to_json};

/// Keys that say how a volume is resampled, not from where: raw and label normally differ in
/// them.
static FREE: &[&str] = &["interpolator", "order", "spline_order", "cval", "mode"];

/// Warns where the geometric transforms of the list `name` differ from those of
/// the raw list in kind, order or parameters.
pub(super) fn compare(raw: &[TransformStep], name: &str, list: &Node, steps: &[TransformStep]) {
    fn geometric(steps: &[TransformStep]) -> impl Iterator<Item = &TransformStep> {
        steps.iter().filter(|step| step.entry.class == TransformClass::Geometric)
    }
    let (mut raw, mut steps) = (geometric(raw), geometric(steps));
    loop {
        match (raw.next(), steps.next()) {
            (None, None) => return,
            (Some(raw), Some(step)) if raw.entry.name == step.entry.name => {
                let keys = differing(raw.entry, &raw.node, &step.node);
                if !keys.is_empty() {
                    step.node.warn(format!(
                        "{} differs in {} from its counterpart in `raw` ({}, `{}`): raw and \
                         {name} do not see the same geometry",
                        step.entry.name,
                        keys.join(", "),
                        raw.node.place,
                        raw.node.path,
                    ));
                }
            }
            // After the first difference in kind, comparing further pairs makes no sense.
            (Some(raw), Some(step)) => {
                return step.node.warn(format!(
                    "{} stands here, but {} in `raw` ({}, `{}`): raw and {name} do not see the \
                     same geometry",
                    step.entry.name, raw.entry.name, raw.node.place, raw.node.path,
                ));
            }
            (Some(raw), None) => {
                return list.warn(format!(
                    "{} of `raw` ({}, `{}`) is missing here: raw and {name} do not see the same \
                     geometry",
                    raw.entry.name, raw.node.place, raw.node.path,
                ));
            }
            (None, Some(step)) => {
                return step.node.warn(format!(
                    "{} has no counterpart in `raw`: raw and {name} do not see the same geometry",
                    step.entry.name,
                ));
            }
        }
    }
}

fn differing(entry: &TransformEntry, a: &Node, b: &Node) -> Vec<String> {
    let parameters = entry.parameters.iter().filter(|parameter| !FREE.contains(&parameter.name));
    parameters
        .filter(|parameter| meant(parameter, a) != meant(parameter, b))
        .map(|parameter| format!("`{}`", parameter.name))
        .collect()
}

/// The value of a key with its default filled in; 5 and 5.0 are the same.
fn meant(parameter: &Parameter, node: &Node) -> JsonValue {
    match node.get_even_null(parameter.name) {
        // Null means the default, except for planes with a default: there it means all planes.
        Some(Node { value: YamlValue::Null, .. })
            if matches!(parameter.kind, Kind::Planes)
                && !matches!(parameter.fallback, Fallback::Nothing) =>
        {
            JsonValue::Null
        }
        Some(node) if node.value != YamlValue::Null => plain(&node.value),
        _ => parameter.fallback.to_json().unwrap_or(JsonValue::from("")),
    }
}

/// The value without its places.
fn plain(value: &YamlValue) -> JsonValue {
    match value {
        YamlValue::Null => JsonValue::Null,
        YamlValue::Flag(b) => (*b).into(),
        YamlValue::Integer(i) => (*i).into(),
        YamlValue::Number(x) => number_to_json(*x),
        YamlValue::Text(text) => text.as_str().into(),
        YamlValue::List(items) => items.iter().map(|item| plain(&item.value)).collect(),
        YamlValue::Map(entries) => {
            entries.iter().map(|(key, node)| (key.clone(), plain(&node.value))).collect()
        }
    }
}
