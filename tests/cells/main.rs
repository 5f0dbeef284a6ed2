//! From predictions to objects and their names.

#[path = "../support/mod.rs"]
mod support;

mod regions;
