// The modules of the readers of volumes, for a target to include.

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
