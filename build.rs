//! Links the program against the libtorch that torch-sys found, so that it
//! starts in an empty environment, and compiles the shim of `src/ffi/*.cpp`.

use std::env;
use std::path::PathBuf;

fn main() {
    // torch-sys passes on the folder of libtorch's shared libraries. It becomes part of
    // the program's search path, so that no LD_LIBRARY_PATH is needed.
    let lib = env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys says where libtorch is");
    // The first entry is the folder into which `make install` copies them.
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib/unet3d/torch/lib");
    println!("cargo:rustc-link-arg=-Wl,-rpath={lib}");
    // A run path of the old kind is searched before LD_LIBRARY_PATH, in which there may be
    // another libtorch, such as that of a conda environment.
    println!("cargo:rustc-link-arg=-Wl,--disable-new-dtags");
    // libtorch_cuda is not linked: `unet3d_load_cuda` loads it where there is a driver.
    println!("cargo:rustc-link-arg=-Wl,--as-needed");

    let root = PathBuf::from(&lib).join("..");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .include(root.join("include"))
        .include(root.join("include/torch/csrc/api/include"))
        .file("src/ffi/loss.cpp")
        .file("src/ffi/script.cpp")
        .file("src/ffi/shim.cpp")
        .compile("unet3d_shim");
    // The stand-ins for Gloo's headers are seen by this one file.
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .define("USE_C10D_GLOO", None)
        .include(root.join("include"))
        .include(root.join("include/torch/csrc/api/include"))
        .include("src/ffi/gloo")
        .file("src/ffi/group.cpp")
        .compile("unet3d_group");
    println!("cargo:rerun-if-changed=src/ffi/gloo");
    println!("cargo:rerun-if-changed=src/ffi/group.cpp");
    println!("cargo:rerun-if-changed=src/ffi/guard.h");
    println!("cargo:rerun-if-changed=src/ffi/loss.cpp");
    println!("cargo:rerun-if-changed=src/ffi/script.cpp");
    println!("cargo:rerun-if-changed=src/ffi/shim.cpp");
    println!("cargo:rerun-if-changed=build.rs");
}
