//! Any bytes as a checkpoint file, zip or legacy.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../src/checkpoint/mod.rs"]
mod checkpoint;
mod common;

libfuzzer_sys::fuzz_target!(|data: &[u8]| common::read(data.to_vec()));
