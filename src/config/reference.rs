//! The reference page of all keys, written from the tables.

use std::fmt::Write;

use super::{AnyRegistry, Fallback, Group, Kind, Parameter};

/// Text that stands before the keys of a section, under the path that its heading
/// shows.
pub type Note = (&'static str, &'static str);

/// A page in Markdown on all keys below `top`, the keys at the top of a
/// configuration.
///
/// # Panics
/// When a note is about a path that there is not.
pub fn page(top: &'static [Parameter], introduction: &str, notes: &[Note]) -> String {
    let mut topics = Vec::new();
    collect(top, &[], &mut topics);
    for (path, _) in notes {
        assert!(topics.iter().any(|topic| topic.path() == *path), "there is no `{path}`");
    }
    let mut page = format!("# Configuration\n\n{introduction}\n\n## Top level\n");
    write_table(&mut page, top, &topics);
    for topic in &topics {
        let path = topic.path();
        let _ = write!(page, "\n## `{path}`\n");
        if topic.paths.len() == 1 {
            let _ = write!(page, "\n{}\n", sentence(topic.parameter.meaning));
        }
        for (_, note) in notes.iter().filter(|(about, _)| *about == path) {
            let _ = write!(page, "\n{note}\n");
        }
        match topic.parameter.kind {
            Kind::Section(keys) => write_table(&mut page, keys, &topics),
            Kind::Entry(registry) | Kind::Entries(registry) => {
                write_registry(&mut page, registry, &topics);
            }
            _ => {}
        }
    }
    page
}

/// A section of the configuration, or several that look the same.
struct Topic {
    parameter: Parameter,
    paths: Vec<Vec<&'static str>>,
}

impl Topic {
    /// The dotted path, with alternatives in braces.
    fn path(&self) -> String {
        joined(&self.paths)
    }

    /// Whether a key's section is the same kind of section.
    fn is_like(&self, parameter: &Parameter) -> bool {
        match (self.parameter.kind, parameter.kind) {
            (Kind::Section(a), Kind::Section(b)) => {
                a.iter().map(|key| key.name).eq(b.iter().map(|key| key.name))
            }
            (Kind::Entry(a), Kind::Entry(b)) | (Kind::Entries(a), Kind::Entries(b)) => {
                a.kind() == b.kind()
            }
            _ => false,
        }
    }

    fn is_opened_by(&self, parameter: &Parameter) -> bool {
        self.is_like(parameter)
            && self.paths.iter().any(|path| path.last() == Some(&parameter.name))
    }
}

/// Paths of one length as one dotted path, with alternatives in braces.
pub(super) fn joined(paths: &[Vec<&'static str>]) -> String {
    let parts = (0..paths[0].len()).map(|i| {
        let mut names: Vec<&str> = Vec::new();
        for path in paths {
            if !names.contains(&path[i]) {
                names.push(path[i]);
            }
        }
        match names.as_slice() {
            [name] => name.to_string(),
            names => format!("{{{}}}", names.join(",")),
        }
    });
    parts.collect::<Vec<_>>().join(".")
}

/// Finds the sections below a table, in the order of the tables.
fn collect(keys: &[Parameter], above: &[&'static str], topics: &mut Vec<Topic>) {
    for key in keys {
        if !is_section(key.kind) {
            continue;
        }
        let path: Vec<&'static str> = above.iter().copied().chain([key.name]).collect();
        // Of sections that look the same, those of the same depth go together.
        let known = topics
            .iter_mut()
            .find(|topic| topic.is_like(key) && topic.paths[0].len() == path.len());
        match known {
            Some(topic) => topic.paths.push(path.clone()),
            None => topics.push(Topic { parameter: *key, paths: vec![path.clone()] }),
        }
        match key.kind {
            Kind::Section(keys) => collect(keys, &path, topics),
            Kind::Entry(registry) | Kind::Entries(registry) => {
                collect(registry.shared(), &path, topics);
                for entry in registry.entries() {
                    collect(entry.parameters(), &path, topics);
                }
            }
            _ => {}
        }
    }
}

fn is_section(kind: Kind) -> bool {
    matches!(kind, Kind::Section(_) | Kind::Entry(_) | Kind::Entries(_))
}

/// The keys that all entries share, then the entries by group and name.
fn write_registry(page: &mut String, registry: &dyn AnyRegistry, topics: &[Topic]) {
    let mut entries = registry.entries();
    entries.sort_by_key(|entry| entry.name());
    let names: Vec<&str> = entries.iter().map(|entry| entry.name()).collect();
    let name = registry.name();
    write_table_head(page);
    write_row(page, &name, &quoted(&names).join(", "));
    write_rows(page, registry.shared(), topics);
    let mut groups: Vec<Option<Group>> = Vec::new();
    for entry in registry.entries() {
        if !groups.contains(&entry.group()) {
            groups.push(entry.group());
        }
    }
    for group in groups {
        if let Some(Group { title, meaning }) = group {
            let _ = write!(page, "\n### {title}\n\n{meaning}\n");
        }
        let heading = if group.is_some() { "####" } else { "###" };
        for entry in entries.iter().filter(|entry| entry.group() == group) {
            let _ =
                write!(page, "\n{heading} `{}`\n\n{}\n", entry.name(), sentence(entry.meaning()));
            write_table(page, entry.parameters(), topics);
        }
    }
}

fn write_table(page: &mut String, keys: &[Parameter], topics: &[Topic]) {
    if !keys.is_empty() {
        write_table_head(page);
        write_rows(page, keys, topics);
    }
}

fn write_table_head(page: &mut String) {
    page.push_str("\n| key | value | default | meaning |\n| --- | --- | --- | --- |\n");
}

fn write_rows(page: &mut String, keys: &[Parameter], topics: &[Topic]) {
    for key in keys {
        let value = match topics.iter().find(|topic| topic.is_opened_by(key)) {
            Some(topic) => format!("[{}](#{})", value(key.kind), anchor(&topic.path())),
            None => value(key.kind),
        };
        write_row(page, key, &value);
    }
}

fn write_row(page: &mut String, key: &Parameter, value: &str) {
    let name = format!("`{}`", key.name);
    let cells = [name, value.to_string(), default(key), key.meaning.to_string()];
    let cells = cells.map(|cell| cell.replace('|', "\\|"));
    let _ = writeln!(page, "| {} |", cells.join(" | "));
}

/// How GitHub names the heading of a path.
fn anchor(path: &str) -> String {
    path.to_lowercase().chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}

/// With a capital at the beginning and a full stop at the end.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with('.') { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

/// What a key may hold, in words.
pub(super) fn value(kind: Kind) -> String {
    match kind {
        Kind::Flag => "true or false".into(),
        Kind::Integer { min, max } => format!("integer{}", range(min as f64, max as f64)),
        Kind::Number { min, max } => format!("number{}", range(min, max)),
        Kind::Text => "text".into(),
        Kind::Path => "path".into(),
        Kind::Choice(words) => quoted(words).join(", "),
        Kind::Integers { min, max, len } => {
            format!("{} integers{}", count(len), range(min as f64, max as f64))
        }
        Kind::Numbers { min, max, len } => format!("{} numbers{}", count(len), range(min, max)),
        Kind::PerAxis { min } => {
            format!("integer{}, or three for z, y and x", range(min as f64, f64::MAX))
        }
        Kind::Texts => "text or list of texts".into(),
        Kind::Words(words) => format!("list of {}", quoted(words).join(", ")),
        Kind::Planes => "list of pairs of axes".into(),
        Kind::Custom([]) => "anything".into(),
        Kind::Custom(kinds) => {
            let kinds: Vec<String> = kinds.iter().map(|kind| value(*kind)).collect();
            kinds.join(" or ")
        }
        Kind::Items(kinds) => {
            let kinds: Vec<String> = kinds.iter().map(|kind| value(*kind)).collect();
            format!("list of items, each {}", kinds.join(" or "))
        }
        Kind::Section(_) | Kind::Entry(_) => "section".into(),
        Kind::Entries(_) => "list of sections".into(),
    }
}

fn quoted(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| format!("`{word}`")).collect()
}

fn count(len: usize) -> String {
    if len == 0 { "list of".into() } else { len.to_string() }
}

fn range(min: f64, max: f64) -> String {
    let (low, high) = bounds(min, max);
    match (low, high) {
        (Some(low), Some(high)) => format!(" {low}…{high}"),
        (Some(low), None) if low > 0.0 && low < 1e-300 => " > 0".into(),
        (Some(low), None) => format!(" ≥ {low}"),
        (None, Some(high)) => format!(" ≤ {high}"),
        (None, None) => String::new(),
    }
}

/// The bounds of a range that say something: as far as i64 reaches, a bound is
/// none.
pub(super) fn bounds(min: f64, max: f64) -> (Option<f64>, Option<f64>) {
    ((min > i64::MIN as f64).then_some(min), (max < 1e15).then_some(max))
}

pub(super) fn default(parameter: &Parameter) -> String {
    match parameter.fallback {
        Fallback::Required => "required".into(),
        Fallback::Nothing => "none".into(),
        Fallback::Text("") => "empty".into(),
        Fallback::Text(text) => format!("`{text}`"),
        fallback => fallback
            .to_json()
            .map_or(String::new(), |value| format!("`{}`", value.to_string().replace(',', ", "))),
    }
}
