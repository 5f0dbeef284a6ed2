//! Transforms and the resampling behind them, against the libraries that define them.

#[path = "../support/mod.rs"]
mod support;

mod cases;
mod deformations;
mod labels;
mod published;
mod resample;
mod transformer;
mod upstream;
