//! The program in the place of the Python program: called by its names, with its flags,
//! and by `predict.py` as ANTSUN calls it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use hdf5::File;

use crate::support::lab::Lab;
use crate::support::program::{Run, python, with_config};

/// A folder `bin` as `make install` makes it, without the libraries.
fn install(lab: &Lab) -> PathBuf {
    let bin = lab.path("bin");
    fs::create_dir(&bin).unwrap();
    for name in ["unet3d", "train3dunet", "predict3dunet"] {
        symlink(env!("CARGO_BIN_EXE_unet3d"), bin.join(name)).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/predict.py");
    assert_eq!(fs::read_to_string(&script).unwrap().lines().count(), 3);
    fs::copy(script, bin.join("predict.py")).unwrap();
    bin
}

/// Runs a program with nothing in its environment.
fn run(program: &Path, arguments: &[&str]) -> Run {
    Command::new(program).args(arguments).env_clear().output().unwrap().into()
}

#[test]
fn the_names_of_the_python_program_take_its_flags() {
    let lab = Lab::new();
    let bin = install(&lab);
    lab.balls("train.h5", [16, 32, 32], 1);
    lab.balls("val.h5", [8, 16, 16], 2);
    fs::create_dir(lab.path("test")).unwrap();
    lab.balls("other.h5", [9, 17, 17], 3);
    let config = lab.training().display().to_string();
    let trained = run(&bin.join("train3dunet"), &["--config", &config, "--threads", "1"]);
    trained.succeeded();
    fs::rename(lab.path("run/last_checkpoint.pytorch"), lab.path("moved.pytorch")).unwrap();

    let config = lab.prediction().display().to_string();
    let (model, out, input) = (lab.path("moved.pytorch"), lab.path("out"), lab.path("other.h5"));
    let [model, out, input] = [&model, &out, &input].map(|path| path.display().to_string());
    let flags = [
        "--config",
        &config,
        "--threads",
        "1",
        "--model_path",
        &model,
        "--loaders.output_dir",
        &out,
        "--loaders.test.file_paths",
        &input,
        "--loaders.test.slice_builder.patch_shape",
        "8",
        "16",
        "16",
        "--loaders.test.slice_builder.stride_shape",
        "4",
        "8",
        "8",
    ];
    run(&bin.join("predict3dunet"), &flags).succeeded();
    let file = File::open(lab.path("out/other_predictions.h5")).unwrap();
    assert_eq!(file.dataset("predictions").unwrap().shape(), [2, 9, 17, 17]);
}

#[test]
fn a_script_as_antsun_writes_it_finds_the_program() {
    let lab = Lab::new();
    let bin = install(&lab);
    lab.balls("train.h5", [16, 32, 32], 1);
    lab.balls("val.h5", [8, 16, 16], 2);
    with_config("train", &lab.training(), &[]).succeeded();
    fs::create_dir(lab.path("hdf")).unwrap();
    lab.balls("hdf/t1.h5", [9, 17, 17], 3);
    fs::write(lab.path("hdf/t2.h5"), "broken").unwrap();

    // ANTSUN replaces the placeholder of the template by its folder of volumes.
    let template = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("SegmentationNet/instance_segmentation_test.yaml");
    assert!(fs::read_to_string(template).unwrap().contains("- PATH_DIR_HDF_INPUT\n"));
    let config = fs::read_to_string(lab.prediction()).unwrap();
    let folder = lab.path("hdf").display().to_string();
    let config = config.replace(&lab.path("test").display().to_string(), "PATH_DIR_HDF_INPUT");
    let config = config.replace("PATH_DIR_HDF_INPUT", &folder);
    let tolerant = config.replace("predictor: {", "predictor: {on_error: continue, ");
    fs::write(lab.path("strict.yaml"), config).unwrap();
    fs::write(lab.path("tolerant.yaml"), tolerant).unwrap();

    let python = python().get_program().to_owned();
    let shell = |config: &str| {
        let script = format!(
            "#!/bin/bash\n{} {} --config {} > {}\n",
            python.display(),
            bin.join("predict.py").display(),
            lab.path(config).display(),
            lab.path("log.txt").display()
        );
        fs::write(lab.path("job.sh"), script).unwrap();
        run(Path::new("/bin/bash"), &[&lab.path("job.sh").display().to_string()])
    };
    let strict = shell("strict.yaml");
    assert_eq!(strict.code, Some(1), "{}", strict.err);
    assert!(lab.path("hdf/t1_predictions.h5").is_file());
    let log = fs::read_to_string(lab.path("log.txt")).unwrap();
    assert!(log.contains("t1_predictions.h5") && log.contains("t2.h5"), "{log}");

    fs::remove_file(lab.path("hdf/t1_predictions.h5")).unwrap();
    let tolerant = shell("tolerant.yaml");
    assert_eq!(tolerant.code, Some(0), "{}", tolerant.err);
    assert!(lab.path("hdf/t1_predictions.h5").is_file());
    let log = fs::read_to_string(lab.path("log.txt")).unwrap();
    assert!(log.contains("1 of 2 volume(s) could not be predicted"), "{log}");
}
