//! What the environment, the limits of the shell and the weights may do to a prediction:
//! an error that says so, or nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use ndarray::Array4;

use crate::support::lab::{Lab, read};
use crate::support::program::{Run, program, script, with_config};

use super::program::lab;

/// Runs the program in a shell that first sets limits.
fn limited(limits: &str, arguments: &[&str], config: &Path) -> Run {
    let output = Command::new("sh")
        .args(["-c", &format!("{limits}; exec \"$0\" \"$@\"")])
        .arg(env!("CARGO_BIN_EXE_unet3d"))
        .args(arguments)
        .arg("--config")
        .arg(config)
        .env_clear()
        .output()
        .unwrap();
    Run::from(output)
}

fn leftovers(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".partial")).collect()
}

#[test]
fn variables_of_the_hdf5_library_change_nothing() {
    let lab = lab();
    let config = lab.prediction();
    with_config("predict", &config, &[]).succeeded();
    let wanted = read(&lab.path("test/t1_predictions.h5"), "predictions");
    for (name, value) in [
        ("HDF5_DRIVER", "core"),
        ("HDF5_DRIVER", "multi"),
        ("HDF5_DRIVER", "nonsense"),
        ("HDF5_VOL_CONNECTOR", "nonsense under_vol=0;under_info={};"),
        ("HDF5_USE_FILE_LOCKING", "TRUE"),
        ("HDF5_PLUGIN_PATH", "/nowhere"),
        ("HDF5_PLUGIN_PRELOAD", "/nowhere"),
    ] {
        fs::remove_file(lab.path("test/t1_predictions.h5")).unwrap();
        let output = program()
            .args(["predict", "--threads", "1", "--config"])
            .arg(&config)
            .env(name, value)
            .output()
            .unwrap();
        let run = Run::from(output);
        assert_eq!(run.code, Some(0), "{name}={value}: {}{}", run.out, run.err);
        assert!(!run.err.contains("HDF5-DIAG"), "{}", run.err);
        assert!(read(&lab.path("test/t1_predictions.h5"), "predictions") == wanted);
    }
}

/// Libraries of the same names that lack everything, as those of another version do.
#[test]
fn another_libtorch_in_the_library_path_is_not_loaded() {
    let lab = lab();
    let folder = lab.path("other");
    fs::create_dir(&folder).unwrap();
    for name in ["libtorch.so", "libtorch_cpu.so", "libc10.so", "libtorch_cuda.so", "libgomp.so.1"]
    {
        let made = Command::new("cc")
            .args(["-shared", "-fPIC", "-x", "c", "/dev/null", "-o"])
            .arg(folder.join(name))
            .status()
            .unwrap();
        assert!(made.success());
    }
    let output = program()
        .args(["predict", "--threads", "1", "--config"])
        .arg(lab.prediction())
        .env("LD_LIBRARY_PATH", &folder)
        .output()
        .unwrap();
    Run::from(output).succeeded();
}

#[test]
fn limits_of_the_shell_are_errors_that_name_them_or_nothing() {
    let lab = lab();
    let config = lab.prediction();
    with_config("predict", &config, &[]).succeeded();
    let wanted = read(&lab.path("test/t2_predictions.h5"), "predictions");
    // The signal that a file beyond the limit raises does not end the program.
    let predict = ["predict", "--threads", "1"];
    fs::remove_file(lab.path("test/t1_predictions.h5")).unwrap();
    let run = limited("ulimit -f 48", &predict, &config);
    run.failed_with(1, &["t1_predictions.h5", "File too large"]);
    assert_eq!(leftovers(&lab.path("test")), [""; 0]);
    assert!(!lab.path("test/t1_predictions.h5").exists());

    for limits in ["ulimit -s 64", "ulimit -S -n 12"] {
        limited(limits, &predict, &config).succeeded();
        assert!(read(&lab.path("test/t2_predictions.h5"), "predictions") == wanted);
    }
    // So few files that some cannot be opened: none of them is called damaged.
    let mut failed = 0;
    for limit in 4..12 {
        let run = limited(&format!("ulimit -n {limit}"), &predict, &config);
        failed += usize::from(run.code != Some(0));
        assert!(!run.err.contains("damaged"), "{limit}: {}", run.err);
        assert!(matches!(run.code, Some(0 | 1 | 2 | 127)), "{limit}: {:?} {}", run.code, run.err);
        assert!(run.code != Some(1) || run.err.contains("open files"), "{limit}: {}", run.err);
    }
    assert!(failed > 0, "no limit was low enough to see anything");
    assert_eq!(leftovers(&lab.path("test")), [""; 0]);
}

#[test]
fn training_needs_no_large_stack_of_the_shell() {
    let lab = Lab::new();
    lab.balls("train.h5", [8, 16, 16], 1);
    lab.balls("val.h5", [8, 16, 16], 2);
    let options = ["train", "--threads", "1", "--set", "trainer.iters=1"];
    limited("ulimit -s 64", &options, &lab.training()).succeeded();
    assert!(lab.path("run/last_checkpoint.pytorch").exists());
}

#[test]
fn predictions_that_are_not_finite_are_errors_that_name_the_file() {
    let lab = lab();
    let config = lab.prediction();
    let spoiled = lab.path("spoiled.pytorch");
    let spoil = |value: &str| {
        let weights = lab.path("run/last_checkpoint.pytorch");
        let name = "final_conv.weight".as_ref();
        script(
            "spoil_weights.py",
            [weights.as_os_str(), spoiled.as_os_str(), name, value.as_ref()],
        );
    };
    let model = format!("model_path={}", spoiled.display());
    let one = format!("loaders.test.file_paths=['{}']", lab.path("test/t1.h5").display());
    spoil("nan");
    for dtype in ["float32", "float16", "uint8"] {
        let dtype = format!("predictor.output_dtype={dtype}");
        let run = with_config("predict", &config, &[&model, &dtype]);
        assert!(run.out.contains("`final_conv.weight` holds values that are NaN"), "{}", run.out);
        run.failed_with(1, &["3 of 3 volume(s)", "t1.h5", "t2.h5", "t10.h5", "NaN", "model_path"]);
    }
    for options in [
        &["predictor.save_probabilities=false", "predictor.save_segmentation=true"][..],
        &["predictor.preview=true"],
        &["prediction_channel=0", "predictor.name=LazyPredictor"],
    ] {
        let all: Vec<&str> =
            [model.as_str(), one.as_str()].into_iter().chain(options.iter().copied()).collect();
        with_config("predict", &config, &all).failed_with(1, &["test/t1.h5", "NaN"]);
    }
    assert_eq!(fs::read_dir(lab.path("test")).unwrap().count(), 3, "nothing was written");

    // A regression network may give what float16 has no number for.
    spoil("1e9");
    let options = [model.as_str(), one.as_str(), "model.is_segmentation=false"];
    with_config("predict", &config, &options).succeeded();
    let found = read(&lab.path("test/t1_predictions.h5"), "predictions");
    assert!(found.iter().any(|value| value.abs() > 65_520.0));
    let half: Vec<&str> = options.into_iter().chain(["predictor.output_dtype=float16"]).collect();
    with_config("predict", &config, &half)
        .failed_with(1, &["test/t1.h5", "float16", "output_dtype: float32"]);
    spoil("inf");
    with_config("predict", &config, &options[..2]).failed_with(1, &["test/t1.h5", "no number"]);
}

/// Voxels in another file belong to the input, too.
#[test]
fn the_sources_of_a_virtual_data_set_are_part_of_the_input() {
    let lab = lab();
    let config = lab.prediction();
    let source = lab.path("source.h5");
    let volume = |offset: f32| {
        let noise: Array4<f32> = crate::support::lab::noise([1, 8, 16, 16], 1) + offset;
        let noise = noise.map(|value| value * value);
        lab.volume(
            "source.h5",
            &[("raw", noise.index_axis(ndarray::Axis(0), 0).to_owned().into_dyn())],
        );
    };
    volume(0.0);
    let virtual_file = lab.path("virtual.h5");
    script("make_virtual.py", [&virtual_file, &source]);
    let files = format!("loaders.test.file_paths=['{}']", virtual_file.display());
    let predict = || {
        let output = program()
            .args(["predict", "--skip-existing", "--threads", "1", "--config"])
            .arg(&config)
            .args(["--set", &files])
            .output()
            .unwrap();
        Run::from(output).succeeded().out
    };
    assert!(predict().contains("1 of 1 volume(s) predicted"));
    assert!(predict().contains("1 of 1 volume(s) have their result"));
    volume(50.0);
    assert!(predict().contains("1 of 1 volume(s) predicted"));
}
