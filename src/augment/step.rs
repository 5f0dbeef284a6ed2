//! One transform in its list.

use std::collections::HashMap;

use super::{Entry, Transform, registry};
use crate::config::{ConfigError, Node, Section, Value, nearest};

/// One transform in its list.
pub struct Step {
    pub entry: &'static Entry,
    /// Its keys without `name`.
    pub node: Node,
    pub transform: Box<dyn Transform>,
    /// How many of that name came before in the list.
    pub occurrence: u32,
}

impl Step {
    pub fn read(item: &Node, seen: &mut HashMap<&'static str, u32>) -> Result<Step, ConfigError> {
        let name = item.get("name").ok_or_else(|| {
            item.error(
                "a transform is wanted: a section with the key `name`, such as `name: RandomFlip`",
            )
        })?;
        let entry = find(name)?;
        let mut node = item.clone();
        if let Value::Map(entries) = &mut node.value {
            entries.retain(|(key, _)| key != "name");
        }
        let transform = (entry.build)(&node.section(entry.parameters)?)?;
        let count = seen.entry(entry.name).or_insert(0);
        let occurrence = *count;
        *count += 1;
        Ok(Step { entry, node, transform, occurrence })
    }

    pub fn section(&self) -> Result<Section<'_>, ConfigError> {
        self.node.section(self.entry.parameters)
    }
}

fn find(name: &Node) -> Result<&'static Entry, ConfigError> {
    let word = name.text()?;
    if let Some(entry) = registry::entry(word) {
        return Ok(entry);
    }
    Err(name.error(match nearest(word, registry::names()) {
        Some(known) => format!("there is no transform `{word}`; is `{known}` meant?"),
        None => format!(
            "there is no transform `{word}`; there are {}",
            registry::names().collect::<Vec<_>>().join(", ")
        ),
    }))
}
