//! A map of the file opened with the table of keys that may stand in it.

use std::path::PathBuf;

use super::registry::nearest;
use super::{ConfigError, Fallback, Kind, Node, Parameter, YamlValue};

/// A checked section: every key that is present has the type and range its
/// [`Parameter`] asks for, so that the getters cannot fail.
///
/// Getters panic if the table has no key of that name and type: that is a mistake in
/// the program, not in the file.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    pub node: &'a Node,
    keys: Keys,
}

/// The keys that may stand in a section.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// The key that chooses an entry of a registry.
    pub name: Option<Parameter>,
    pub own: &'static [Parameter],
    /// Keys that all entries of a registry have in common.
    pub shared: &'static [Parameter],
}

impl From<&'static [Parameter]> for Keys {
    fn from(own: &'static [Parameter]) -> Self {
        Keys { name: None, own, shared: &[] }
    }
}

impl Keys {
    /// All keys: the name first, then the entry's own, then the shared ones.
    pub fn iter(&self) -> impl Iterator<Item = Parameter> {
        self.name.into_iter().chain(self.own.iter().copied()).chain(self.shared.iter().copied())
    }

    /// The key of that name.
    pub fn find(&self, name: &str) -> Option<Parameter> {
        self.iter().find(|parameter| parameter.name == name)
    }
}

impl Section<'_> {
    /// Whether the section's table has a key of that name, which one dialect may have
    /// and the other not.
    pub fn knows(&self, name: &str) -> bool {
        self.keys.find(name).is_some()
    }
}

impl Node {
    /// Opens this map with its table of keys: wrong types, impossible values and
    /// missing required keys are errors, unknown keys become warnings.
    pub fn section(&self, keys: impl Into<Keys>) -> Result<Section<'_>, ConfigError> {
        let keys = keys.into();
        let YamlValue::Map(entries) = &self.value else {
            return Err(self.error(format!("a section is wanted, not {}", self.value.describe())));
        };
        for (key, node) in entries {
            match keys.find(key) {
                Some(parameter) => check(node, &parameter)?,
                None => {
                    let names = keys.iter().map(|parameter| parameter.name);
                    match nearest(key, names) {
                        Some(name) => {
                            node.warn(format!("unknown key, ignored; is `{name}` meant?"))
                        }
                        None => node.warn("unknown key, ignored"),
                    }
                }
            }
        }
        for parameter in keys.iter() {
            if matches!(parameter.fallback, Fallback::Required)
                && self.get(parameter.name).is_none()
            {
                return Err(missing(self, &parameter));
            }
        }
        Ok(Section { node: self, keys })
    }
}

fn missing(section: &Node, parameter: &Parameter) -> ConfigError {
    let Parameter { name, meaning, .. } = parameter;
    section.error(format!("the key `{name}` is missing: {meaning}"))
}

/// Voxels along an axis, at most: more than any volume has.
const LONGEST: i64 = 1 << 20;

fn check(node: &Node, parameter: &Parameter) -> Result<(), ConfigError> {
    if node.value == YamlValue::Null {
        return Ok(());
    }
    let wrong = |wanted: String| {
        Err(node.error(format!("{wanted} is wanted, not {}", node.value.describe())))
    };
    let each = |ok: &dyn Fn(&Node) -> bool, len: usize| match &node.value {
        YamlValue::List(items) => (len == 0 || items.len() == len) && items.iter().all(ok),
        _ => false,
    };
    match parameter.kind {
        Kind::Flag => match node.value {
            YamlValue::Flag(_) => Ok(()),
            _ => wrong("true or false".into()),
        },
        Kind::Integer { min, max } => match integer(node) {
            Some(i) if (min..=max).contains(&i) => Ok(()),
            _ => wrong(format!("an integer{}", range(min as f64, max as f64))),
        },
        Kind::Number { min, max } => match number(node) {
            Some(x) if x >= min && x <= max => Ok(()),
            _ => wrong(format!("a number{}", range(min, max))),
        },
        Kind::Text => match node.value {
            YamlValue::Text(_) => Ok(()),
            _ => wrong("text".into()),
        },
        Kind::Path => match node.value {
            YamlValue::Text(_) => node.file_path().map(drop),
            _ => wrong("a path".into()),
        },
        Kind::Choice(words) => match &node.value {
            YamlValue::Text(text) if words.contains(&text.as_str()) => Ok(()),
            other => {
                let near = match other {
                    YamlValue::Text(text) => nearest(text, words.iter().copied()),
                    _ => None,
                };
                let hint = near.map(|near| format!("; is `{near}` meant?")).unwrap_or_default();
                let (words, given) = (words.join(", "), other.describe());
                Err(node.error(format!("one of {words} is wanted, not {given}{hint}")))
            }
        },
        Kind::Integers { min, max, len } => {
            let ok = |item: &Node| integer(item).is_some_and(|i| (min..=max).contains(&i));
            if each(&ok, len) {
                Ok(())
            } else {
                let count = if len == 0 { String::new() } else { format!("{len} ") };
                wrong(format!("a list of {count}integers{}", range(min as f64, max as f64)))
            }
        }
        Kind::Numbers { min, max, len } => {
            let ok = |item: &Node| number(item).is_some_and(|x| x >= min && x <= max);
            if each(&ok, len) {
                Ok(())
            } else {
                let count = if len == 0 { String::new() } else { format!("{len} ") };
                wrong(format!("a list of {count}numbers{}", range(min, max)))
            }
        }
        Kind::PerAxis { min } => {
            let ok = |item: &Node| integer(item).is_some_and(|i| (min..=LONGEST).contains(&i));
            if ok(node) || each(&ok, 3) {
                Ok(())
            } else {
                let range = range(min as f64, LONGEST as f64);
                wrong(format!("an integer{range}, or three for z, y and x,"))
            }
        }
        Kind::Texts => match &node.value {
            YamlValue::Text(_) => Ok(()),
            YamlValue::List(items)
                if !items.is_empty() && items.iter().all(|item| item.text().is_ok()) =>
            {
                Ok(())
            }
            _ => wrong("text or a list of texts".into()),
        },
        Kind::Words(words) => {
            let ok = |item: &Node| item.text().is_ok_and(|text| words.contains(&text));
            if each(&ok, 0) { Ok(()) } else { wrong(format!("a list of {}", words.join(", "))) }
        }
        Kind::Planes => match planes(node) {
            Some(planes) if !planes.is_empty() => Ok(()),
            _ => wrong(
                "a list of planes, each a pair of different axes out of 0 (z), 1 (y) and 2 (x), \
                 such as [[1, 2]],"
                    .into(),
            ),
        },
        Kind::Custom(_) | Kind::Items(_) | Kind::Section(_) | Kind::Entry(_) | Kind::Entries(_) => {
            Ok(())
        }
    }
}

fn range(min: f64, max: f64) -> String {
    let low = (min > i64::MIN as f64).then_some(min);
    let high = (max < i64::MAX as f64).then_some(max);
    match (low, high) {
        (Some(low), Some(high)) => format!(" from {low} to {high}"),
        (Some(low), None) => format!(" of at least {low}"),
        (None, Some(high)) => format!(" of at most {high}"),
        (None, None) => String::new(),
    }
}

fn integer(node: &Node) -> Option<i64> {
    match node.value {
        YamlValue::Integer(i) => Some(i),
        // `iters: 1e5` is how some files write a hundred thousand.
        YamlValue::Number(x) if x.fract() == 0.0 && x.abs() < 9e15 => Some(x as i64),
        _ => None,
    }
}

fn number(node: &Node) -> Option<f64> {
    match node.value {
        YamlValue::Integer(i) => Some(i as f64),
        YamlValue::Number(x) if x.is_finite() => Some(x),
        _ => None,
    }
}

/// Pairs of different axes.
fn planes(node: &Node) -> Option<Vec<[usize; 2]>> {
    let axis = |node: &Node| match node.value {
        YamlValue::Integer(axis @ 0..=2) => Some(axis as usize),
        _ => None,
    };
    let plane = |pair: &Node| match pair.items().ok()? {
        [a, b] => Some([axis(a)?, axis(b)?]).filter(|[a, b]| a != b),
        _ => None,
    };
    node.items().ok()?.iter().map(plane).collect()
}

impl<'a> Section<'a> {
    fn parameter(&self, name: &str) -> Parameter {
        self.keys
            .find(name)
            .unwrap_or_else(|| panic!("`{name}` is not in the table of `{}`", self.node.path))
    }

    /// The child node, `None` if absent or null.
    pub fn child(&self, name: &str) -> Option<&'a Node> {
        self.parameter(name);
        self.node.get(name)
    }

    /// The child node, which must be there.
    ///
    /// # Errors
    /// The key is absent or null.
    pub fn required(&self, name: &str) -> Result<&'a Node, ConfigError> {
        let parameter = self.parameter(name);
        self.node.get(name).ok_or_else(|| missing(self.node, &parameter))
    }

    /// True when the key stands in the file with the value null.
    pub fn is_null(&self, name: &str) -> bool {
        self.parameter(name);
        self.node.get_even_null(name).is_some_and(|node| node.value == YamlValue::Null)
    }

    /// An error at the key's place, or at the section's if the key is absent.
    pub fn error(&self, name: &str, message: impl Into<String>) -> ConfigError {
        self.node.error_at(name, message)
    }

    /// A flag, or its default.
    pub fn flag(&self, name: &str) -> bool {
        match (self.child(name).map(|node| &node.value), self.parameter(name).fallback) {
            (Some(YamlValue::Flag(b)), _) => *b,
            (_, Fallback::Flag(b)) => b,
            _ => panic!("`{name}` is not a flag with a default"),
        }
    }

    /// An integer, or its default; `None` if there is neither.
    pub fn maybe_integer(&self, name: &str) -> Option<i64> {
        match (self.child(name).and_then(integer), self.parameter(name).fallback) {
            (Some(i), _) => Some(i),
            (None, Fallback::Integer(i)) => Some(i),
            _ => None,
        }
    }

    /// An integer, or its default.
    pub fn integer(&self, name: &str) -> i64 {
        self.maybe_integer(name).unwrap_or_else(|| panic!("`{name}` has no default"))
    }

    /// An integer whose table entry keeps it from being negative.
    pub fn size(&self, name: &str) -> usize {
        usize::try_from(self.integer(name)).unwrap_or_else(|_| panic!("`{name}` may be negative"))
    }

    /// As [`Section::size`]; `None` if absent without a default.
    pub fn maybe_size(&self, name: &str) -> Option<usize> {
        self.maybe_integer(name)
            .map(|i| usize::try_from(i).unwrap_or_else(|_| panic!("`{name}` may be negative")))
    }

    /// A number, or its default; `None` if there is neither.
    pub fn maybe_number(&self, name: &str) -> Option<f64> {
        match (self.child(name).and_then(number), self.parameter(name).fallback) {
            (Some(x), _) => Some(x),
            (None, Fallback::Number(x)) => Some(x),
            _ => None,
        }
    }

    /// A number, or its default.
    pub fn number(&self, name: &str) -> f64 {
        self.maybe_number(name).unwrap_or_else(|| panic!("`{name}` has no default"))
    }

    /// Text, or its default; `None` if there is neither.
    pub fn maybe_text(&self, name: &str) -> Option<&'a str> {
        match (self.child(name).map(|node| &node.value), self.parameter(name).fallback) {
            (Some(YamlValue::Text(s)), _) => Some(s),
            (None, Fallback::Text(s)) => Some(s),
            _ => None,
        }
    }

    /// Text, or its default.
    pub fn text(&self, name: &str) -> &'a str {
        self.maybe_text(name).unwrap_or_else(|| panic!("`{name}` has no default"))
    }

    /// The path of a file or directory.
    pub fn maybe_path(&self, name: &str) -> Option<PathBuf> {
        self.child(name).and_then(|node| node.file_path().ok())
    }

    /// A path whose key is required.
    pub fn path(&self, name: &str) -> PathBuf {
        self.maybe_path(name).unwrap_or_else(|| panic!("`{name}` has no default"))
    }

    /// A list of integers, or its default; `None` if there is neither.
    pub fn maybe_integers(&self, name: &str) -> Option<Vec<i64>> {
        match (self.child(name).map(|node| &node.value), self.parameter(name).fallback) {
            (Some(YamlValue::List(items)), _) => Some(items.iter().filter_map(integer).collect()),
            (None, Fallback::Integers(values)) => Some(values.to_vec()),
            _ => None,
        }
    }

    /// A list of integers, or its default.
    pub fn integers(&self, name: &str) -> Vec<i64> {
        self.maybe_integers(name).unwrap_or_else(|| panic!("`{name}` has no default"))
    }

    /// A list of numbers, or its default; `None` if there is neither.
    pub fn maybe_numbers(&self, name: &str) -> Option<Vec<f64>> {
        match (self.child(name).map(|node| &node.value), self.parameter(name).fallback) {
            (Some(YamlValue::List(items)), _) => Some(items.iter().filter_map(number).collect()),
            (None, Fallback::Numbers(values)) => Some(values.to_vec()),
            _ => None,
        }
    }

    /// A list of numbers, or its default.
    pub fn numbers(&self, name: &str) -> Vec<f64> {
        self.maybe_numbers(name).unwrap_or_else(|| panic!("`{name}` has no default"))
    }

    /// One integer for each of z, y, x; a single one stands for all three.
    pub fn maybe_per_axis(&self, name: &str) -> Option<[i64; 3]> {
        let given = match self.child(name) {
            Some(node) => match &node.value {
                YamlValue::List(items) => items.iter().filter_map(integer).collect(),
                _ => vec![integer(node)?; 3],
            },
            None => match self.parameter(name).fallback {
                Fallback::Integers(values) => values.to_vec(),
                Fallback::Integer(value) => vec![value; 3],
                _ => return None,
            },
        };
        given.try_into().ok()
    }

    /// As [`Section::maybe_per_axis`], of a key that is required or has a default.
    pub fn per_axis(&self, name: &str) -> [i64; 3] {
        self.maybe_per_axis(name).unwrap_or_else(|| panic!("`{name}` has no default"))
    }

    /// Pairs of axes; `None` if absent or null without a default.
    pub fn maybe_planes(&self, name: &str) -> Option<Vec<[usize; 2]>> {
        match (self.child(name).and_then(planes), self.parameter(name).fallback) {
            (Some(planes), _) => Some(planes),
            (None, Fallback::Planes(planes)) => {
                Some(planes.iter().map(|plane| plane.map(|axis| axis as usize)).collect())
            }
            _ => None,
        }
    }

    /// Words of a list; empty if absent without a default.
    pub fn words(&self, name: &str) -> Vec<&'a str> {
        match (self.child(name).map(|node| &node.value), self.parameter(name).fallback) {
            (Some(YamlValue::List(items)), _) => {
                items.iter().filter_map(|item| item.text().ok()).collect()
            }
            (_, Fallback::Words(words)) => words.to_vec(),
            _ => Vec::new(),
        }
    }

    /// A word or a list of words, as a list; empty if absent without a default.
    pub fn texts(&self, name: &str) -> Vec<&'a str> {
        match self.child(name).map(|node| &node.value) {
            Some(YamlValue::List(items)) => {
                items.iter().filter_map(|item| item.text().ok()).collect()
            }
            Some(YamlValue::Text(text)) => vec![text],
            _ => match self.parameter(name).fallback {
                Fallback::Text(text) => vec![text],
                _ => Vec::new(),
            },
        }
    }
}
