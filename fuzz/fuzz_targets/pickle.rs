//! Any bytes as the pickle of a zip archive that is otherwise sound: checksums
//! keep a fuzzer from getting there by changing the archive.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../src/checkpoint/mod.rs"]
mod checkpoint;
mod common;

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut entry = |name: &str, bytes: &[u8]| {
        archive.start_file(name, options).unwrap();
        archive.write_all(bytes).unwrap();
    };
    entry("a/data.pkl", data);
    entry("a/data/0", &[1; 64]);
    entry("a/data/1", &[2; 8]);
    entry("a/data/2", &[]);
    let bytes = archive.finish().unwrap().into_inner();
    common::read(bytes);
});
