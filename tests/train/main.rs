//! Training through the program.

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code, reason = "other tests of the criteria need more of it")]
#[path = "../criteria/cases.rs"]
mod cases;
mod check_values;
mod division;
mod earlier_runs;
mod labels;
mod learners;
mod lost_data;
mod machine;
mod memory_format;
mod program;
mod published;
mod ranks;
mod ranks_criteria;
mod ranks_program;
mod recorded;
mod stops;
mod tensorboard;
mod upstream;
mod upstream_settings;
