//! From YAML text to nodes with places, and what is wrong with text that is no YAML.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Error, Location, Spanned, UserMessageFormatter};

use super::tree::{Node, YamlValue};
use super::{ConfigError, Place};

/// Parses YAML as PyYAML's `safe_load` does; `name` is what errors call the text.
///
/// # Errors
/// Text that is no YAML, a key that stands twice, or a tag such as `!!python/object`.
pub(super) fn parse(text: &str, name: &str) -> Result<Node, ConfigError> {
    let source: Arc<str> = name.into();
    let options = serde_saphyr::options! {
        // Keys that stand twice are refused below, where both places are known.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    let lines: Vec<&str> = text.lines().collect();
    let parsed: Spanned<Parsed> = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| invalid(&source, error.location(), explain(&error)))?;
    attach(parsed, &source, &lines)
}

fn invalid(source: &Arc<str>, at: Option<Location>, message: String) -> ConfigError {
    let position = at.map(|at| (at.line() as u32, at.column() as u32));
    ConfigError {
        place: Place { source: source.clone(), position },
        key: String::new(),
        message: format!("not valid YAML: {message}"),
    }
}

/// The cause of an error of the parser and its remedy, in terms of the file.
fn explain(error: &Error) -> String {
    match error.without_snippet() {
        Error::AliasError { error, .. } => explain(error),
        Error::MultipleDocuments { .. } => {
            "a second document begins here: a configuration is one document, so remove the line \
             `---`"
                .into()
        }
        Error::UnknownAnchor { .. } => {
            "`*name` repeats a value that was marked `&name` before, and there is none; text that \
             begins with `*`, such as '*.h5', has to stand in quotes"
                .into()
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "`*name` stands within the value that `&name` marks, and no value can contain itself"
                .into()
        }
        Error::UnsupportedTag { .. } => "tags (words that begin with `!`) are not understood; remove this one, or put text that \
             begins with `!` in quotes"
            .into(),
        Error::NonFiniteFloat { value, .. } => {
            format!("`{value}` is no number that a configuration can hold")
        }
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => TOO_LARGE.into(),
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => TOO_DEEP.into(),
        Error::Budget { .. } => TOO_LARGE.into(),
        Error::Unexpected { expected: "string scalar", .. } => {
            "a key is one word or number, not a list or a section".into()
        }
        Error::Eof { .. } => "the text ends too early".into(),
        Error::ExternalMessage { msg, .. } => {
            let advice = ADVICE.iter().find(|(words, _)| msg.contains(words));
            advice.map_or_else(|| msg.clone(), |(_, advice)| advice.to_string())
        }
        other => other.render_with_formatter(&UserMessageFormatter),
    }
}

const TOO_DEEP: &str = "sections and lists are nested too deep";
const TOO_LARGE: &str =
    "the text, with all values that `*name` repeats, is too large for a configuration";

/// Words of the parser's messages, and what is said in their place.
const ADVICE: &[(&str, &str)] = &[
    ("recursion limit", TOO_DEEP),
    ("tabs disallowed", "a tab stands here; YAML is indented with spaces alone"),
    (
        "did not find expected key",
        "the line does not fit the lines above: the keys of one section begin in the same column, \
         each followed by `:` and a space",
    ),
    (
        "mapping values are not allowed",
        "a second `: ` in one line: put text that contains it in quotes, and begin a nested section \
         on a line of its own",
    ),
    (
        "illegal placement of ':'",
        "no key is expected here: a `[`, `{` or quote in the lines above may not be closed",
    ),
    ("unclosed quote", "the quote that begins here is not closed"),
    ("unexpected character", "text does not begin with this character unless it stands in quotes"),
];

/// What serde makes of the YAML before it is turned into nodes.
enum Parsed {
    Null,
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<Spanned<Parsed>>),
    Map(Vec<(String, Spanned<Parsed>)>),
}

/// Turns what serde made into nodes with their places.
///
/// # Errors
/// A key that stands twice in a section.
fn attach(parsed: Spanned<Parsed>, source: &Arc<str>, lines: &[&str]) -> Result<Node, ConfigError> {
    let at = parsed.referenced;
    let (line, column) = (parsed.defined.line() as usize, parsed.defined.column() as usize);
    // YAML 1.1 counts y and n among the booleans; PyYAML, which reads these
    // files today, does not, and `[z, y, x]` is a list of axes.
    let letter = || {
        let mut rest = lines.get(line.wrapping_sub(1))?.chars().skip(column.wrapping_sub(1));
        let first = rest.next().filter(|first| "yYnN".contains(*first))?;
        let alone = rest.next().is_none_or(|next| !next.is_alphanumeric());
        alone.then(|| first.to_string())
    };
    let value = match parsed.value {
        Parsed::Null => YamlValue::Null,
        Parsed::Flag(b) => letter().map_or(YamlValue::Flag(b), YamlValue::Text),
        Parsed::Integer(i) => YamlValue::Integer(i),
        Parsed::Number(x) => YamlValue::Number(x),
        Parsed::Text(s) => YamlValue::Text(s),
        Parsed::List(items) => {
            let items = items.into_iter().map(|item| attach(item, source, lines));
            YamlValue::List(items.collect::<Result<_, _>>()?)
        }
        Parsed::Map(entries) => {
            refuse_duplicates(&entries, source)?;
            let entries =
                entries.into_iter().map(|(key, value)| Ok((key, attach(value, source, lines)?)));
            YamlValue::Map(entries.collect::<Result<_, ConfigError>>()?)
        }
    };
    let place =
        Place { source: source.clone(), position: Some((at.line() as u32, at.column() as u32)) };
    Ok(Node { path: String::new(), place, value, notes: Arc::default() })
}

fn refuse_duplicates(
    entries: &[(String, Spanned<Parsed>)],
    source: &Arc<str>,
) -> Result<(), ConfigError> {
    let mut seen = HashMap::new();
    for (key, value) in entries {
        let at = value.referenced;
        if let Some(line) = seen.insert(key, at.line()) {
            let lines = match line == at.line() {
                true => format!("in line {line}"),
                false => format!("in lines {line} and {}", at.line()),
            };
            return Err(invalid(
                source,
                Some(at),
                format!("the key `{key}` stands twice, {lines}: remove one"),
            ));
        }
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ParsedVisitor)
    }
}

struct ParsedVisitor;

impl<'de> Visitor<'de> for ParsedVisitor {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Null)
    }

    fn visit_none<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parsed, D::Error> {
        Parsed::deserialize(deserializer)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Parsed, E> {
        Ok(Parsed::Flag(b))
    }

    fn visit_i64<E>(self, i: i64) -> Result<Parsed, E> {
        Ok(Parsed::Integer(i))
    }

    fn visit_u64<E: de::Error>(self, i: u64) -> Result<Parsed, E> {
        i64::try_from(i).map(Parsed::Integer).map_err(|_| E::custom(format!("{i} is too large")))
    }

    fn visit_f64<E>(self, x: f64) -> Result<Parsed, E> {
        Ok(Parsed::Number(x))
    }

    fn visit_str<E>(self, s: &str) -> Result<Parsed, E> {
        Ok(Parsed::Text(s.to_string()))
    }

    fn visit_string<E>(self, s: String) -> Result<Parsed, E> {
        Ok(Parsed::Text(s))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Parsed, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Parsed::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parsed, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let mut value: Spanned<Parsed> = map.next_value()?;
            // A key is where a reader looks for its section; a nested block
            // would otherwise be placed at its own first line.
            value.referenced = key.referenced;
            entries.push((key.value, value));
        }
        Ok(Parsed::Map(entries))
    }
}
