//! The configuration file as a tree of values with their places in the file.
//!
//! [`Tree::read`] parses a YAML file the way PyYAML's `safe_load` does
//! (`10_000` is an integer, `yes` a boolean) and keeps line and column of every
//! value. A module of the program declares the keys it understands as a table of
//! [`Parameter`]s and opens its part of the tree with [`Node::section`], which
//! checks types and ranges, fills in defaults and warns of unknown keys. Things
//! that are chosen by name, such as losses, are listed in a [`Registry`]. The tables are the only place
//! where a key, its default and its meaning are written down: warnings,
//! `unet3d check`, `docs/configuration.md` ([`reference`]) and
//! `unet3d.schema.json` ([`schema`]) come from them.

mod dialect;
mod differences;
mod error;
pub mod explain;
mod parameter;
pub mod reference;
mod registry;
pub mod schema;
mod section;
mod signs;
mod source;
mod tree;
mod yaml;

pub use dialect::{Dialect, Dialects};
pub use differences::differences;
pub use error::{ConfigError, Place};
pub use parameter::{Fallback, Kind, Parameter, number_to_json};
pub use registry::{AnyRegistry, Entry, Group, Registry, unknown};
pub use section::{Keys, Section};
pub use signs::{Verdict, tell};
pub use tree::{Node, Tree, YamlValue};
