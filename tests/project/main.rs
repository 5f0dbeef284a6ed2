//! Configuration, documentation, architecture and `unsafe` blocks of the project.

#[path = "../support/mod.rs"]
mod support;

mod architecture;
mod command_line;
mod config;
mod documentation;
mod gloo_headers;
mod packaging;
mod published_settings;
mod reference_pages;
mod schema;
mod unsafe_blocks;
