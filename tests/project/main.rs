//! What the project says of itself: configuration, reference pages, `unsafe` blocks.

#[path = "../support/mod.rs"]
mod support;

mod config;
mod documentation;
mod published_settings;
mod reference_pages;
mod unsafe_blocks;
