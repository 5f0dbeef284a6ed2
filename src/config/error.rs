//! Where something stands in the configuration, and what is wrong with it.

use std::fmt;
use std::sync::Arc;

/// A position in the file (1-based), or the `--set` option a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub source: Arc<str>,
    /// Line and column, absent for values that do not stand in a file.
    pub position: Option<(u32, u32)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "{}:{line}:{column}", self.source),
            None => f.write_str(&self.source),
        }
    }
}

/// A configuration that cannot be used; ends the program with exit code 2.
#[derive(Clone, Debug, thiserror::Error)]
pub struct ConfigError {
    pub place: Place,
    /// Dotted path of the key, empty for the whole file.
    pub key: String,
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}", self.place, self.message)
        } else {
            write!(f, "{}: `{}`: {}", self.place, self.key, self.message)
        }
    }
}
