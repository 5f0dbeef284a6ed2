//! The reference of all transforms, written from their tables of keys.

use std::fmt::Write;

use super::{TRANSFORMS, TransformClass};
use crate::config::{Fallback, Kind, Parameter};

/// The content of `docs/transforms.md`.
pub fn reference() -> String {
    let mut text = String::from(
        "# Transforms\n\n\
         Written from the tables in `src/augment` by `UPDATE_DOCS=1 cargo test --release --test \
         project`.\n\n\
         The lists `raw`, `label` and `weight` under `loaders.<phase>.transformer` name transforms \
         and their keys. Volumes are (D, H, W) or (C, D, H, W); axes 0, 1, 2 are z, y, x. Each \
         transform draws from a random stream of its own, keyed by the seed, the epoch, the sample, \
         its name and how many of that name came before it in its list: raw, label and weight see \
         the same geometry, and the number of workers changes nothing. Transforms of intensities \
         draw differently for each data set.\n",
    );
    for (class, title, what) in [
        (
            TransformClass::Geometric,
            "Geometry",
            "They move voxels and belong into all lists of a phase, in the same order.",
        ),
        (TransformClass::Intensity, "Intensities", "They give float32 (float64 stays)."),
        (TransformClass::Conversion, "Conversions", "They turn values of one kind into another."),
    ] {
        let _ = write!(text, "\n## {title}\n\n{what}\n");
        for entry in TRANSFORMS.sorted().into_iter().filter(|entry| entry.class == class) {
            let _ = write!(text, "\n### `{}`\n\n{}\n", entry.name, entry.meaning);
            if !entry.parameters.is_empty() {
                text.push_str("\n| key | value | default | meaning |\n| --- | --- | --- | --- |\n");
            }
            for parameter in entry.parameters {
                let _ = writeln!(
                    text,
                    "| `{}` | {} | {} | {} |",
                    parameter.name,
                    kind(parameter),
                    fallback(parameter),
                    parameter.meaning
                );
            }
        }
    }
    text
}

fn kind(parameter: &Parameter) -> String {
    match parameter.kind {
        Kind::Flag => "true or false".into(),
        Kind::Integer { min, max } => format!("integer{}", range(min as f64, max as f64)),
        Kind::Number { min, max } => format!("number{}", range(min, max)),
        Kind::Text => "text".into(),
        Kind::Choice(words) => words.join(", "),
        Kind::Integers { min, max, len } => {
            format!("{} integers{}", count(len), range(min as f64, max as f64))
        }
        Kind::Numbers { min, max, len } => format!("{} numbers{}", count(len), range(min, max)),
        Kind::PerAxis { min } => format!("integer{}, or three", range(min as f64, f64::MAX)),
        Kind::Texts => "text or list of texts".into(),
        Kind::Any => "list".into(),
    }
}

fn count(len: usize) -> String {
    if len == 0 { "list of".into() } else { len.to_string() }
}

fn range(min: f64, max: f64) -> String {
    // As far as i64 reaches, a bound is none.
    let (low, high) = (min > i64::MIN as f64, max < i64::MAX as f64);
    match (low, high) {
        (true, true) if max >= 1e15 => format!(" ≥ {min}"),
        (true, true) => format!(" {min}…{max}"),
        (true, false) if min > 0.0 && min < 1e-300 => " > 0".into(),
        (true, false) => format!(" ≥ {min}"),
        (false, true) => format!(" ≤ {max}"),
        (false, false) => String::new(),
    }
}

fn fallback(parameter: &Parameter) -> String {
    match parameter.fallback {
        Fallback::Required => "required".into(),
        Fallback::Nothing => "none".into(),
        Fallback::Flag(b) => b.to_string(),
        Fallback::Integer(i) => i.to_string(),
        Fallback::Number(x) => x.to_string(),
        Fallback::Text(text) => text.into(),
        Fallback::Integers(list) => format!("{list:?}"),
        Fallback::Numbers(list) => {
            let list: Vec<String> = list.iter().map(f64::to_string).collect();
            format!("[{}]", list.join(", "))
        }
    }
}
