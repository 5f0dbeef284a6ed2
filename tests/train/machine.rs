//! What a machine has or has not: devices, memory, and numbers that would take all of
//! it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use crate::support::lab::Lab;
use crate::support::program::{with_config, with_flags};

fn lab() -> Lab {
    let lab = Lab::new();
    lab.balls("train.h5", [8, 16, 16], 1);
    lab.balls("val.h5", [8, 16, 16], 2);
    fs::create_dir(lab.path("test")).unwrap();
    lab.balls("test/a.h5", [8, 16, 16], 3);
    lab
}

#[test]
fn a_gpu_that_the_command_line_asks_for_has_to_be_there() {
    if tch::Cuda::is_available() {
        return;
    }
    let lab = lab();
    let iters = "trainer.iters=1";
    let configurations = [lab.training(), lab.prediction()];
    for (command, config) in [("train", 0), ("check", 0), ("check", 1), ("predict", 1)] {
        let config = &configurations[config];
        for word in ["cuda", "cuda:0"] {
            with_flags(command, config, &["--device", word], &[])
                .failed_with(2, &["--device", word, "`cpu`"]);
            with_config(command, config, &[&format!("device={word}")])
                .failed_with(2, &["--set device", word, "`cpu`"]);
        }
    }
    assert!(!lab.path("run").exists(), "nothing was begun");
    // Published files say it of the machine that they were written for.
    for (command, config) in [("check", 0), ("train", 0), ("predict", 1)] {
        let text = fs::read_to_string(&configurations[config]).unwrap();
        let config = lab.config("cuda.yaml", &format!("device: cuda\n{text}"));
        let iters: &[&str] = if command == "train" { &[iters] } else { &[] };
        let run = with_config(command, &config, iters).succeeded();
        assert!(run.out.contains("running on the CPU"), "{}", run.out);
    }
}

#[test]
fn names_that_are_long_or_no_text() {
    let lab = lab();
    fs::create_dir(lab.path("many")).unwrap();
    let long = format!("{}.h5", "n".repeat(252));
    fs::rename(lab.path("train.h5"), lab.path("many").join(&long)).unwrap();
    let many = format!("loaders.train.file_paths=['{}']", lab.path("many").display());
    let place = "d".repeat(255);
    let place = format!("trainer.checkpoint_dir={}", lab.path(&place).display());
    let options = [&many[..], &place, "trainer.iters=1"];
    with_config("train", &lab.training(), &options).succeeded();

    // Bytes that no encoding of text has: the configuration is read all the same, and
    // files that the HDF5 library cannot open are refused by name.
    let odd = OsStr::from_bytes(b"c\xff.yaml");
    fs::copy(lab.training(), lab.directory.path().join(odd)).unwrap();
    with_config("check", &lab.directory.path().join(odd), &[&many]).succeeded();
    let odd = OsStr::from_bytes(b"odd\xff.h5");
    fs::rename(lab.path("many").join(&long), lab.path("many").join(odd)).unwrap();
    for command in ["train", "check"] {
        with_config(command, &lab.training(), &[&many])
            .failed_with(1, &["/many/odd", "no UTF-8 text", "rename"]);
    }
}

#[test]
fn numbers_that_take_more_memory_than_there_is_are_refused_before_any_is_taken() {
    let lab = lab();
    for (options, words) in [
        (&["model.out_channels=1000000000"][..], &["model.out_channels", "65536"][..]),
        (&["model.in_channels=1000000000"], &["model.in_channels", "65536"]),
        (&["model.f_maps=1000000", "model.num_levels=16"], &["model.f_maps", "1048576"]),
        (&["model.conv_kernel_size=1000000000"], &["model.conv_kernel_size", "1048576"]),
        (&["loaders.batch_size=1000000000"], &["loaders.batch_size"]),
        (&["loaders.num_workers=1000000000"], &["loaders.num_workers"]),
        (&["loaders.train.slice_builder.patch_shape=[8, 16, 9999999999]"], &["patch_shape"]),
        (
            &[
                "loaders.train.slice_builder={name: PixelWiseWeightedSliceBuilder, num_patches: 9999999999, patch_shape: [8, 16, 16], skip_shape_check: true}",
            ],
            &["num_patches"],
        ),
    ] {
        for command in ["train", "check"] {
            with_config(command, &lab.training(), options).failed_with(2, words);
        }
    }
    // Within the bounds, but more than any machine has.
    for options in [
        &["model.f_maps=[1048576, 1048576]"][..],
        &[
            "loaders.batch_size=65536",
            "loaders.train.slice_builder.patch_shape=[8, 1048576, 1048576]",
        ],
    ] {
        for command in ["train", "check"] {
            with_config(command, &lab.training(), options)
                .failed_with(1, &["training with", "GiB", "this machine has", "model.f_maps"]);
        }
    }
    for command in ["predict", "check"] {
        let options = ["model.f_maps=[1048576, 1048576]", "model_path=/no/such.pytorch"];
        let run = with_config(command, &lab.prediction(), &options);
        assert_eq!(run.code.map(|code| code > 0), Some(true), "{}", run.out);
    }
    assert!(!lab.path("run/last_checkpoint.pytorch").exists());
}
