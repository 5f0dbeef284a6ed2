//! Any bytes as the metadata of a Zarr store.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../readers/ffi.rs"]
mod ffi;
#[path = "../../src/files/mod.rs"]
mod files;
#[path = "../../src/format/mod.rs"]
mod format;
#[path = "../readers/volume.rs"]
mod reader;
#[path = "../../src/runtime/mod.rs"]
mod runtime;
#[path = "../../src/volume/mod.rs"]
mod volume;

libfuzzer_sys::fuzz_target!(|data: &[u8]| reader::read_store(data));
