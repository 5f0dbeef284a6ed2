//! Everything that a configuration chooses by name: one type for the lists, one
//! way to look a name up and one way to refuse it.

use std::fmt;

use super::{ConfigError, Keys, Node, Parameter, Section, YamlValue};

/// A thing that a configuration can choose by name, such as a loss, as the registry,
/// the reference page and the JSON schema see it.
pub trait Entry: Sync {
    /// The name by which a configuration chooses it.
    fn name(&self) -> &'static str;

    /// What it does, in one sentence.
    fn meaning(&self) -> &'static str;

    /// The keys of its own that may stand beside its name. The key of the name and
    /// the registry's shared keys are added by the registry.
    fn parameters(&self) -> &'static [Parameter];

    /// The group under which the reference page lists it, if the registry has groups.
    fn group(&self) -> Option<Group> {
        None
    }
}

/// Entries of a registry that have something in common, such as geometric transforms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    pub title: &'static str,
    pub meaning: &'static str,
}

/// A registry with entries of any type, as the reference page and the JSON schema see
/// it.
pub trait AnyRegistry: Sync {
    /// What one of its entries is called in messages.
    fn kind(&self) -> &'static str;

    /// The key that names an entry.
    fn name(&self) -> Parameter;

    /// Keys that all entries take.
    fn shared(&self) -> &'static [Parameter];

    /// All entries, in the order of the list.
    fn entries(&self) -> Vec<&'static dyn Entry>;
}

impl<E: Entry> AnyRegistry for Registry<E> {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn name(&self) -> Parameter {
        self.name
    }

    fn shared(&self) -> &'static [Parameter] {
        self.shared
    }

    fn entries(&self) -> Vec<&'static dyn Entry> {
        self.entries.iter().map(|&entry| entry as &dyn Entry).collect()
    }
}

impl fmt::Debug for dyn AnyRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "registry of {}", self.kind())
    }
}

/// All things of one kind that a configuration can choose by name.
///
/// A new one is added by one file and one line of `entries`.
pub struct Registry<E: Entry + 'static> {
    /// What one of them is called in messages: `loss`, `slice builder`.
    pub kind: &'static str,
    /// The key that names one: its default, if there is one, is taken when the key is
    /// absent.
    pub name: Parameter,
    pub entries: &'static [&'static E],
    /// Keys that all of them take.
    pub shared: &'static [Parameter],
    /// Names that other programs know and this one refuses, each with the reason.
    pub refused: &'static [(&'static str, &'static str)],
}

impl<E: Entry> Registry<E> {
    /// The entry of that name.
    pub fn find(&self, name: &str) -> Option<&'static E> {
        self.entries.iter().copied().find(|entry| entry.name() == name)
    }

    /// All names, in the order of the list.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<E> {
        self.entries.iter().map(|entry| entry.name())
    }

    /// All entries, in the order of their names.
    pub fn sorted(&self) -> Vec<&'static E> {
        let mut entries = self.entries.to_vec();
        entries.sort_unstable_by_key(|entry| entry.name());
        entries
    }

    /// All keys of a section that chooses `entry`.
    pub fn keys(&self, entry: &'static E) -> Keys {
        Keys { name: Some(self.name), own: entry.parameters(), shared: self.shared }
    }

    /// Opens a section that names an entry: finds the entry and checks its keys.
    ///
    /// # Errors
    /// A missing or unknown name, missing keys, wrong types or impossible values.
    pub fn open<'a>(&self, node: &'a Node) -> Result<(&'static E, Section<'a>), ConfigError> {
        let key = self.name.name;
        let entry = match (node.get(key), self.name.fallback) {
            (Some(name), _) => self.choose(name)?,
            (None, super::Fallback::Text(default)) => self
                .find(default)
                .unwrap_or_else(|| panic!("the default {} {default} is not there", self.kind)),
            (None, _) => {
                let all = self.names().collect::<Vec<_>>().join(", ");
                return Err(node.error(match &node.value {
                    YamlValue::Map(_) => format!("the key `{key}` is missing; it is one of {all}"),
                    other => format!(
                        "a section is wanted with the key `{key}`, not {}; `{key}` is one of {all}",
                        other.describe()
                    ),
                }));
            }
        };
        Ok((entry, node.section(self.keys(entry))?))
    }

    /// The entry that the text of a node names.
    ///
    /// # Errors
    /// A value that is no text, or a name that is not there: the message gives the
    /// nearest name, or all of them.
    pub fn choose(&self, name: &Node) -> Result<&'static E, ConfigError> {
        let text = name.text()?;
        if let Some(entry) = self.find(text) {
            return Ok(entry);
        }
        let all = || self.names().collect::<Vec<_>>().join(", ");
        let kind = self.kind;
        if let Some((_, reason)) = self.refused.iter().find(|(refused, _)| *refused == text) {
            return Err(name.error(format!("{text} {reason}; known are {}", all())));
        }
        Err(name.error(unknown(kind, text, self.names())))
    }
}

/// The message that refuses a word that is not among `known`. It names the most
/// similar known word or, if there is none, all of them.
pub fn unknown(kind: &str, word: &str, known: impl Iterator<Item = &'static str>) -> String {
    let known: Vec<_> = known.collect();
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("there is no {kind} `{word}`; is `{near}` meant?"),
        None => format!("there is no {kind} `{word}`; there are {}", known.join(", ")),
    }
}

/// The most similar of `words`, if it is similar enough to be what was meant.
pub(super) fn nearest<'w>(word: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    words
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Tree;

    struct Shape(&'static str, &'static [Parameter]);

    impl Entry for Shape {
        fn name(&self) -> &'static str {
            self.0
        }

        fn meaning(&self) -> &'static str {
            "a shape"
        }

        fn parameters(&self) -> &'static [Parameter] {
            self.1
        }
    }

    static SHAPES: Registry<Shape> = Registry {
        kind: "shape",
        name: Parameter::text("name", "", "the shape").required(),
        entries: &[
            &Shape("Circle", &[Parameter::number("radius", 1.0, "of the circle")]),
            &Shape("Square", &[]),
        ],
        shared: &[Parameter::flag("filled", false, "with colour inside")],
        refused: &[("Tesseract", "has four dimensions")],
    };

    fn open(text: &str) -> Result<(&'static str, bool), String> {
        let tree = Tree::parse(&format!("shape: {text}"), "c.yaml", &[]).unwrap();
        let (entry, section) =
            SHAPES.open(tree.root.get("shape").unwrap()).map_err(|error| error.to_string())?;
        assert_eq!(tree.warnings(), Vec::<String>::new());
        Ok((entry.name(), section.flag("filled")))
    }

    #[test]
    fn an_entry_takes_its_own_keys_and_the_shared_ones() {
        assert_eq!(open("{name: Circle, radius: 3, filled: true}"), Ok(("Circle", true)));
        assert_eq!(open("{name: Square}"), Ok(("Square", false)));
    }

    #[test]
    fn names_that_are_not_there_are_refused_with_a_cure() {
        let error = |text: &str| open(text).unwrap_err();
        assert!(error("{name: Circel}").contains("there is no shape `Circel`; is `Circle` meant?"));
        assert!(error("{name: Xyz}").contains("there are Circle, Square"));
        assert!(error("{radius: 3}").contains("the key `name` is missing"));
        assert!(error("{name: Tesseract}").contains("Tesseract has four dimensions"));
        assert!(error("{name: 3}").contains("text is wanted"));
    }
}
