//! From predictions to objects and their names.

#[path = "../support/mod.rs"]
mod support;

mod evaluate;
mod faults;
mod instances;
mod label_input;
mod names;
mod regions;
mod replaced;
mod splits;
mod stage;
mod worm;
