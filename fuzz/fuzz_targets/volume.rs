//! Any bytes as a file of a format of volumes, or as the metadata of a Zarr store. The name of
//! the program says which.
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

libfuzzer_sys::fuzz_target!(|data: &[u8]| match env!("CARGO_BIN_NAME") {
    "tiff" => reader::read("a.tif", data),
    "nrrd" => reader::read("a.nrrd", data),
    "nifti" => reader::read("a.nii", data),
    "metaimage" => reader::read("a.mha", data),
    "zarr" => reader::read_store(data),
    other => panic!("{other} is no format"),
});
