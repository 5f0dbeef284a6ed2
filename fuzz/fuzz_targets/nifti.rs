//! Any bytes as a NIfTI file.
#![no_main]
#![allow(dead_code, unused_imports)]

include!("../readers/modules.rs");

libfuzzer_sys::fuzz_target!(|data: &[u8]| reader::read("a.nii", data));
