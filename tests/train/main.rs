//! Training through the program.

#[path = "../support/mod.rs"]
mod support;

mod lost_data;
mod program;
mod published;
mod recorded;
mod stops;
mod tensorboard;
