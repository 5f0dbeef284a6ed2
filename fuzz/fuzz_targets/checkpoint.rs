//! Any bytes as a checkpoint file, zip or legacy.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../src/checkpoint/mod.rs"]
mod checkpoint;
#[path = "../../src/files/mod.rs"]
mod files;
#[path = "../readers/checkpoint.rs"]
mod reader;

libfuzzer_sys::fuzz_target!(|data: &[u8]| reader::read(data.to_vec()));
