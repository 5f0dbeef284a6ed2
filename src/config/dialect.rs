//! Dialects: two programs read configurations of this form and mean different things
//! by some names and defaults.

use std::fmt;

use super::{ConfigError, Entry, Node, Registry, Section};

/// Whose meaning names and defaults have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `flavell-lab/pytorch-3dunet`, and what this program adds to it.
    #[default]
    Fork,
    /// `wolny/pytorch-3dunet` 1.9.
    Upstream,
}

impl Dialect {
    /// The words of the key `dialect`.
    pub const WORDS: &[&str] = &["fork", "upstream"];

    /// The dialect that a word of [`Dialect::WORDS`] names.
    pub fn named(word: &str) -> Option<Dialect> {
        [Dialect::Fork, Dialect::Upstream].into_iter().find(|dialect| dialect.word() == word)
    }

    /// Its word for the key `dialect`.
    pub fn word(self) -> &'static str {
        match self {
            Dialect::Fork => Self::WORDS[0],
            Dialect::Upstream => Self::WORDS[1],
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dialect::Fork => "fork (flavell-lab/pytorch-3dunet)",
            Dialect::Upstream => "upstream (wolny/pytorch-3dunet)",
        })
    }
}

/// A table or registry as each dialect has it.
pub struct Dialects<T> {
    pub fork: T,
    pub upstream: T,
}

impl<T> Dialects<T> {
    /// That of a dialect.
    pub fn of(&self, dialect: Dialect) -> &T {
        match dialect {
            Dialect::Fork => &self.fork,
            Dialect::Upstream => &self.upstream,
        }
    }
}

impl<E: Entry> Dialects<Registry<E>> {
    /// Opens a section that names an entry, as [`Registry::open`] does, with the
    /// registry of the file's dialect.
    ///
    /// # Errors
    /// A missing or unknown name, missing keys, wrong types or impossible values.
    pub fn open<'a>(&self, node: &'a Node) -> Result<(&'static E, Section<'a>), ConfigError> {
        self.of(node.dialect()).open(node)
    }
}
