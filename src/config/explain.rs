//! What the tables say of one key or of one thing that a key can name, as text for a
//! terminal.

use std::fmt::Write;

use super::reference::{default, joined, sentence, value};
use super::registry::nearest;
use super::{Entry, Kind, Parameter};

/// Explains a key, by its dotted path or the end of it (`trainer.iters`, `iters`), or
/// what a key can name (`DiceLoss`), from the tables below `top`. Everything of that
/// name is explained, one after the other.
///
/// # Errors
/// A message with the most similar name if there is none of that name.
pub fn explain(top: &'static [Parameter], word: &str) -> Result<String, String> {
    let mut found = Vec::new();
    collect(top, &mut Vec::new(), None, &mut found);
    // Items of lists are counted in a path, which the tables do not do.
    let wanted: Vec<&str> = word.split('.').filter(|part| part.parse::<usize>().is_err()).collect();
    let mut texts: Vec<(String, Vec<Vec<&'static str>>)> = Vec::new();
    for explained in found.iter().filter(|explained| explained.is_named(&wanted)) {
        let text = explained.text();
        // The phases of `loaders` have the same keys.
        match texts.iter_mut().find(|(known, _)| *known == text) {
            Some((_, paths)) => paths.push(explained.path.clone()),
            None => texts.push((text, vec![explained.path.clone()])),
        }
    }
    if texts.is_empty() {
        let last = wanted.last().copied().unwrap_or(word);
        return Err(match nearest(last, found.iter().map(Explained::name)) {
            Some(near) => format!("there is no key or name `{word}`; is `{near}` meant?"),
            None => {
                format!("there is no key or name `{word}`; docs/configuration.md lists them all")
            }
        });
    }
    let texts: Vec<String> = texts
        .iter()
        .map(|(text, paths)| {
            let one = paths.iter().all(|path| path.len() == paths[0].len());
            let paths = if one {
                joined(paths)
            } else {
                paths.iter().map(|path| path.join(".")).collect::<Vec<_>>().join("\n")
            };
            format!("{paths}{text}")
        })
        .collect();
    Ok(texts.join("\n"))
}

/// A key or an entry, and where it may stand.
struct Explained {
    /// Path of the key, or of the section that names the entry.
    path: Vec<&'static str>,
    what: What,
}

enum What {
    /// A key; of one entry of a registry alone if that is given.
    Key(Parameter, Option<&'static str>),
    Entry(&'static dyn Entry),
}

impl Explained {
    fn name(&self) -> &'static str {
        match &self.what {
            What::Key(key, _) => key.name,
            What::Entry(entry) => entry.name(),
        }
    }

    fn is_named(&self, wanted: &[&str]) -> bool {
        match &self.what {
            What::Key(..) => self.path.ends_with(wanted),
            What::Entry(entry) => matches!(wanted, [only] if *only == entry.name()),
        }
    }

    /// Everything but the path.
    fn text(&self) -> String {
        let mut text = String::new();
        match &self.what {
            What::Key(key, of) => {
                if let Some(entry) = of {
                    let _ = write!(text, " (of {entry})");
                }
                let _ = writeln!(text, "\n  {}", sentence(key.meaning));
                let _ = writeln!(
                    text,
                    "  Value: {}. Default: {}.",
                    plain(&value(key.kind)),
                    plain(&default(key))
                );
                match key.kind {
                    Kind::Section(keys) => write_keys(&mut text, keys),
                    Kind::Entry(registry) | Kind::Entries(registry) => {
                        let names: Vec<_> =
                            registry.entries().iter().map(|entry| entry.name()).collect();
                        let _ = writeln!(
                            text,
                            "  `{}` is one of {}.",
                            registry.name().name,
                            names.join(", ")
                        );
                        write_keys(&mut text, registry.shared());
                    }
                    _ => {}
                }
            }
            What::Entry(entry) => {
                let _ = writeln!(text, ": {}\n  {}", entry.name(), sentence(entry.meaning()));
                write_keys(&mut text, entry.parameters());
            }
        }
        text
    }
}

/// Finds all keys and entries below a table. `of` is the entry that the table is of.
fn collect(
    keys: &'static [Parameter],
    path: &mut Vec<&'static str>,
    of: Option<&'static str>,
    found: &mut Vec<Explained>,
) {
    for key in keys {
        path.push(key.name);
        found.push(Explained { path: path.clone(), what: What::Key(*key, of) });
        match key.kind {
            Kind::Section(keys) => collect(keys, path, None, found),
            Kind::Entry(registry) | Kind::Entries(registry) => {
                let mut name = path.clone();
                name.push(registry.name().name);
                found.push(Explained { path: name, what: What::Key(registry.name(), None) });
                collect(registry.shared(), path, None, found);
                for entry in registry.entries() {
                    found.push(Explained { path: path.clone(), what: What::Entry(entry) });
                    collect(entry.parameters(), path, Some(entry.name()), found);
                }
            }
            _ => {}
        }
        path.pop();
    }
}

/// One line a key, in columns.
fn write_keys(text: &mut String, keys: &[Parameter]) {
    let width = keys.iter().map(|key| key.name.len()).max().unwrap_or(0);
    for key in keys {
        let _ = writeln!(
            text,
            "    {:width$}  {} [{}; {}]",
            key.name,
            key.meaning,
            plain(&value(key.kind)),
            plain(&default(key))
        );
    }
}

/// Without the marks of Markdown.
fn plain(text: &str) -> String {
    text.replace('`', "")
}
