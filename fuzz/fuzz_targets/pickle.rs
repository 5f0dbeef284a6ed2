//! Any bytes as the pickle of a checkpoint.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../src/checkpoint/mod.rs"]
mod checkpoint;
#[path = "../../src/files/mod.rs"]
mod files;
#[path = "../readers/checkpoint.rs"]
mod reader;

libfuzzer_sys::fuzz_target!(|data: &[u8]| reader::read(reader::with_pickle(data)));
