//! Training through the program.

#[path = "../support/mod.rs"]
mod support;

mod check_values;
mod division;
mod earlier_runs;
mod labels;
mod lost_data;
mod machine;
mod program;
mod published;
mod ranks;
mod recorded;
mod stops;
mod tensorboard;
mod upstream;
mod upstream_settings;
