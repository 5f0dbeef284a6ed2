//! The configuration file as a tree in which every value knows its place.
//!
//! [`Tree::read`] parses a YAML file the way PyYAML's `safe_load` does
//! (`10_000` is an integer, `yes` a boolean) and keeps line and column of every
//! value. A room of the program declares the keys it understands as a table of
//! [`Parameter`]s and opens its part of the tree with [`Node::section`], which
//! checks types and ranges, fills in defaults and notes keys that nobody knows.
//! The tables are the only place where a key, its default and its meaning are
//! written down: warnings, `unet3d check` and `docs/configuration.md` come from
//! them.

mod error;
mod parameter;
mod registry;
mod section;
mod tree;

pub use error::{ConfigError, Place};
pub use parameter::{Fallback, Kind, Parameter};
pub(crate) use registry::nearest;
pub use registry::{Entry, Registry, unknown};
pub use section::{Keys, Section};
pub use tree::{Node, Tree, YamlValue};
