//! Any bytes as the metadata of a Zarr store.
#![no_main]
#![allow(dead_code, unused_imports)]

include!("../readers/modules.rs");

libfuzzer_sys::fuzz_target!(|data: &[u8]| reader::read_store(data));
