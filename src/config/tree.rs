//! The tree of values, and overriding them by dotted path.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use super::{ConfigError, Dialect, Place, source, yaml};

/// The value of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum YamlValue {
    Null,
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl YamlValue {
    /// What to call this value in an error message.
    pub fn describe(&self) -> String {
        match self {
            YamlValue::Null => "nothing".into(),
            YamlValue::Flag(b) => format!("the boolean {b}"),
            YamlValue::Integer(i) => format!("the integer {i}"),
            YamlValue::Number(x) => format!("the number {x}"),
            YamlValue::Text(s) => format!("the text '{s}'"),
            YamlValue::List(items) => format!("a list of {}", items.len()),
            YamlValue::Map(_) => "a section".into(),
        }
    }
}

/// A value, its dotted path and its place in the file.
#[derive(Clone, Debug)]
pub struct Node {
    pub path: String,
    pub place: Place,
    pub value: YamlValue,
    pub(super) notes: Arc<Notes>,
}

impl PartialEq for Node {
    /// Two nodes are equal when they hold the same values, wherever they stand.
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// What all nodes of a file share: warnings found while sections were opened, and the
/// dialect in which the file is read.
#[derive(Debug, Default)]
pub(super) struct Notes {
    warnings: Mutex<Vec<String>>,
    dialect: OnceLock<Dialect>,
}

impl Notes {
    pub(super) fn push(&self, note: String) {
        let mut notes = self.warnings.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
}

impl Node {
    /// An error at the place of this value.
    pub fn error(&self, message: impl Into<String>) -> ConfigError {
        ConfigError { place: self.place.clone(), key: self.path.clone(), message: message.into() }
    }

    /// An error at the place of the child under `key`, or at this node's if it is
    /// absent.
    pub fn error_at(&self, key: &str, message: impl Into<String>) -> ConfigError {
        if let Some(child) = self.get_even_null(key) {
            return child.error(message);
        }
        let mut error = self.error(message);
        error.key = self.path_of(key);
        error
    }

    /// A copy of the child under `key`; an empty section if it is absent or null.
    pub fn section_or_empty(&self, key: &str) -> Node {
        match self.get(key) {
            Some(child) => child.clone(),
            None => Node {
                path: self.path_of(key),
                place: self.place.clone(),
                value: YamlValue::Map(Vec::new()),
                notes: Arc::clone(&self.notes),
            },
        }
    }

    /// Dotted path of the child under `key`.
    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.path) }
    }

    /// Notes a warning about this node; the command prints it with the others.
    pub fn warn(&self, message: impl fmt::Display) {
        self.notes.push(format!("{}: `{}`: {message}", self.place, self.path));
    }

    /// The dialect of the file; the fork's unless [`Tree::set_dialect`] was called.
    pub fn dialect(&self) -> Dialect {
        self.notes.dialect.get().copied().unwrap_or_default()
    }

    /// The child under `key`, `None` if it is absent, null, or this is no map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.get_even_null(key).filter(|node| node.value != YamlValue::Null)
    }

    /// The child under `key`, also when its value is null.
    pub fn get_even_null(&self, key: &str) -> Option<&Node> {
        match &self.value {
            YamlValue::Map(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The node at a dotted path such as `loaders.train.slice_builder`.
    pub fn at(&self, dotted: &str) -> Option<&Node> {
        dotted.split('.').try_fold(self, |node, key| node.get(key))
    }

    /// The items of a list; an error for any other value.
    pub fn items(&self) -> Result<&[Node], ConfigError> {
        match &self.value {
            YamlValue::List(items) => Ok(items),
            other => Err(self.error(format!("a list is wanted, not {}", other.describe()))),
        }
    }

    /// The text; an error for any other value.
    pub fn text(&self) -> Result<&str, ConfigError> {
        match &self.value {
            YamlValue::Text(text) => Ok(text),
            other => Err(self.error(format!("text is wanted, not {}", other.describe()))),
        }
    }

    /// The path of a file or directory: text in which a leading `~/` stands for the
    /// home directory.
    ///
    /// # Errors
    /// A value that is no text, `~` without a home directory, or `~user`.
    pub fn file_path(&self) -> Result<PathBuf, ConfigError> {
        let text = self.text()?;
        let (first, rest) = text.split_once('/').unwrap_or((text, ""));
        if !first.starts_with('~') {
            return Ok(PathBuf::from(text));
        }
        if first != "~" {
            return Err(self.error(format!("`{first}` is not understood; write the path in full")));
        }
        match std::env::home_dir().filter(|home| !home.as_os_str().is_empty()) {
            Some(home) => Ok(home.join(rest.trim_start_matches('/'))),
            None => Err(self.error(
                "`~` stands for the home directory, which is not known here (HOME is not set); \
                 write the path in full",
            )),
        }
    }

    /// The values below this node as JSON, which is YAML too, in the order of the
    /// file: how a checkpoint or an output says what it was made with.
    pub fn to_json(&self) -> String {
        let quote = |text: &str| serde_json::Value::from(text).to_string();
        match &self.value {
            YamlValue::Null => "null".into(),
            YamlValue::Flag(b) => b.to_string(),
            YamlValue::Integer(i) => i.to_string(),
            YamlValue::Number(x) if x.is_finite() => format!("{x:?}"),
            YamlValue::Number(x) => quote(&x.to_string()),
            YamlValue::Text(s) => quote(s),
            YamlValue::List(items) => {
                let items: Vec<_> = items.iter().map(Node::to_json).collect();
                format!("[{}]", items.join(", "))
            }
            YamlValue::Map(entries) => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|(key, node)| format!("{}: {}", quote(key), node.to_json()))
                    .collect();
                format!("{{{}}}", entries.join(", "))
            }
        }
    }

    fn set_paths(&mut self, path: String, notes: &Arc<Notes>) {
        match &mut self.value {
            YamlValue::List(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    item.set_paths(format!("{path}[{i}]"), notes);
                }
            }
            YamlValue::Map(entries) => {
                for (key, node) in entries.iter_mut() {
                    let child = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    node.set_paths(child, notes);
                }
            }
            _ => {}
        }
        self.path = path;
        self.notes = notes.clone();
    }
}

/// A whole configuration file.
#[derive(Debug)]
pub struct Tree {
    pub root: Node,
    notes: Arc<Notes>,
}

impl Tree {
    /// Reads `file` and applies the `--set key=value` overrides in order.
    pub fn read(file: &Path, overrides: &[String]) -> Result<Tree, ConfigError> {
        let name = file.display().to_string();
        let text = source::read(file).map_err(|message| ConfigError {
            place: Place { source: name.as_str().into(), position: None },
            key: String::new(),
            message,
        })?;
        Tree::parse(&text, &name, overrides)
    }

    /// Parses YAML text; `name` is what errors call it.
    pub fn parse(text: &str, name: &str, overrides: &[String]) -> Result<Tree, ConfigError> {
        let mut root = yaml::parse(text, name)?;
        if !matches!(root.value, YamlValue::Map(_)) {
            return Err(root.error("a configuration is a section of `key: value` lines"));
        }
        for option in overrides {
            apply_override(&mut root, option)?;
        }
        let notes = Arc::new(Notes::default());
        root.set_paths(String::new(), &notes);
        Ok(Tree { root, notes })
    }

    /// Sets the dialect in which the file is read, once and before any section is
    /// opened.
    pub fn set_dialect(&self, dialect: Dialect) {
        let _ = self.notes.dialect.set(dialect);
    }

    /// The warnings noted so far, each once, in the order they were found.
    pub fn warnings(&self) -> Vec<String> {
        self.notes.warnings.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

/// Sets one value from `dotted.key=YAML`, making sections that are not there.
fn apply_override(root: &mut Node, option: &str) -> Result<(), ConfigError> {
    let source = format!("--set {option}");
    let place = Place { source: source.as_str().into(), position: None };
    let fail = |message: String| ConfigError { place: place.clone(), key: String::new(), message };
    let (dotted, text) = option
        .split_once('=')
        .ok_or_else(|| fail("write it as dotted.key=value, such as trainer.iters=100".into()))?;
    let mut value = yaml::parse(if text.is_empty() { "null" } else { text }, &source)?;
    fn replant(node: &mut Node, place: &Place) {
        node.place = place.clone();
        match &mut node.value {
            YamlValue::List(items) => items.iter_mut().for_each(|item| replant(item, place)),
            YamlValue::Map(entries) => {
                entries.iter_mut().for_each(|(_, node)| replant(node, place))
            }
            _ => {}
        }
    }
    replant(&mut value, &place);

    let mut node = root;
    for key in dotted.split('.') {
        if key.is_empty() {
            return Err(fail(format!("`{dotted}` has an empty part")));
        }
        if node.value == YamlValue::Null {
            node.value = YamlValue::Map(Vec::new());
        }
        let described = node.value.describe();
        node = match &mut node.value {
            YamlValue::Map(entries) => {
                let index = entries.iter().position(|(k, _)| k == key).unwrap_or_else(|| {
                    let blank = Node {
                        path: String::new(),
                        place: place.clone(),
                        value: YamlValue::Null,
                        notes: Arc::default(),
                    };
                    entries.push((key.to_string(), blank));
                    entries.len() - 1
                });
                &mut entries[index].1
            }
            YamlValue::List(items) => {
                let count = items.len();
                key.parse::<usize>().ok().and_then(|index| items.get_mut(index)).ok_or_else(
                    || fail(format!("`{key}` is no index of a list of {count} (they start at 0)")),
                )?
            }
            _ => return Err(fail(format!("`{key}` is looked up in {described}"))),
        };
    }
    *node = value;
    Ok(())
}
