//! Checks that the lists of raw, label and weight move voxels in the same way.

use super::step::TransformStep;
use super::{TransformClass, TransformEntry};
use crate::config::{Fallback, Kind, Node, Parameter, YamlValue};

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

/// The value of a key in a canonical spelling, with its default filled in.
fn meant(parameter: &Parameter, node: &Node) -> String {
    match node.get_even_null(parameter.name) {
        // Null means the default, except for keys of any type that have a default: their
        // transform gives null a meaning of its own.
        Some(Node { value: YamlValue::Null, .. })
            if parameter.kind == Kind::Any && parameter.fallback != Fallback::Nothing =>
        {
            "null".into()
        }
        Some(node) if node.value != YamlValue::Null => spelled(&node.value),
        _ => match parameter.fallback {
            Fallback::Required | Fallback::Nothing => String::new(),
            Fallback::Flag(b) => b.to_string(),
            Fallback::Integer(i) => number(i as f64),
            Fallback::Number(x) => number(x),
            Fallback::Text(text) => text.into(),
            Fallback::Integers(list) => {
                let list: Vec<String> = list.iter().map(|&i| number(i as f64)).collect();
                format!("[{}]", list.join(", "))
            }
            Fallback::Numbers(list) => {
                let list: Vec<String> = list.iter().map(|&x| number(x)).collect();
                format!("[{}]", list.join(", "))
            }
        },
    }
}

/// 5 and 5.0 are the same number.
fn number(x: f64) -> String {
    x.to_string()
}

fn spelled(value: &YamlValue) -> String {
    match value {
        YamlValue::Null => "null".into(),
        YamlValue::Flag(b) => b.to_string(),
        YamlValue::Integer(i) => number(*i as f64),
        YamlValue::Number(x) => number(*x),
        YamlValue::Text(text) => text.clone(),
        YamlValue::List(items) => {
            let items: Vec<String> = items.iter().map(|item| spelled(&item.value)).collect();
            format!("[{}]", items.join(", "))
        }
        YamlValue::Map(entries) => {
            let entries =
                entries.iter().map(|(key, node)| format!("{key}: {}", spelled(&node.value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}
