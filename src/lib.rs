//! Trains 3D U-Nets and runs them on microscopy volumes.
//!
//! The order of the pipeline is the order in which rooms may know each other:
//! `config → volume → patch → augment → model → loss · metric → train`, and
//! `stitch → predict` beside training.

pub mod augment;
pub mod checkpoint;
pub mod cli;
pub mod commands;
pub mod config;
pub mod device;
pub mod distributed;
pub mod evaluate;
pub mod ffi;
pub mod files;
pub mod format;
pub mod instances;
pub mod loss;
pub mod metric;
pub mod model;
pub mod optim;
pub mod package;
pub mod planning;
pub mod predict;
pub mod regions;
pub mod resample;
pub mod runtime;
pub mod samples;
pub mod stitch;
pub mod target;
pub mod tensorboard;
pub mod train;
pub mod training_data;
pub mod volume;
