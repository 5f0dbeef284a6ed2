//! The wheel of `scripts/wheel.sh`: the command that it installs and the functions that call
//! it from Python.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::lab::Lab;
use crate::support::program::{Run, python, script, with_config};

/// A folder as `site-packages` is, with the wheel of the program under test and the torch
/// that it was built with.
fn site_packages(lab: &Lab) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (dist, site) = (lab.path("dist"), lab.path("site"));
    let built = Command::new(root.join("scripts/wheel.sh"))
        .arg(env!("CARGO_BIN_EXE_unet3d"))
        .env("DIST", &dist)
        .env("UNET3D_PYTHON", python().get_program())
        .output();
    Run::from(built.unwrap()).succeeded();
    let wheels: Vec<_> = fs::read_dir(&dist).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [wheel] = &wheels[..] else { panic!("not one wheel: {wheels:?}") };
    assert!(fs::metadata(wheel).unwrap().len() < 30 << 20, "the wheel is larger than 30 MB");

    let mut pip = python();
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]);
    Run::from(pip.arg("--target").arg(&site).arg(wheel).output().unwrap()).succeeded();
    let torch = PathBuf::from(env!("LIBTORCH")).canonicalize().unwrap();
    symlink(&torch, site.join("torch")).unwrap();
    let nvidia = torch.with_file_name("nvidia");
    if nvidia.exists() {
        symlink(nvidia, site.join("nvidia")).unwrap();
    }
    site
}

fn installed(site: &Path, arguments: &[&str]) -> Run {
    let mut command = python();
    command.env_clear().env("PYTHONPATH", site).args(["-m", "unet3d_rs"]).args(arguments);
    Run::from(command.output().unwrap())
}

#[test]
fn the_wheel_gives_the_command_and_the_functions() {
    let lab = Lab::new();
    let site = site_packages(&lab);

    let version = installed(&site, &["--version"]).succeeded();
    assert_eq!(version.out.trim(), format!("unet3d {}", env!("CARGO_PKG_VERSION")));
    installed(&site, &["check", "--config", "missing.yaml"]).failed_with(2, &["missing.yaml"]);

    let program = fs::read(site.join("unet3d_rs/bin/unet3d")).unwrap();
    let torch = Path::new(env!("LIBTORCH")).canonicalize().unwrap();
    for path in [Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), torch] {
        let path = format!("{}/", path.display());
        let named = program.windows(path.len()).any(|bytes| bytes == path.as_bytes());
        assert!(!named, "the program in the wheel names {path}");
    }

    // The same volume through `unet3d predict` and through `unet3d_rs.predict`.
    fs::create_dir(lab.path("test")).unwrap();
    lab.balls("train.h5", [16, 64, 64], 1);
    lab.balls("val.h5", [16, 64, 64], 2);
    lab.balls("test/a.h5", [16, 64, 64], 3);
    let (training, prediction) = (lab.training(), lab.prediction());
    let called = lab.path("called.h5");
    script("call_from_python.py", [&site, &training, &prediction, &lab.path("test/a.h5"), &called]);
    let folder = lab.path("direct");
    fs::create_dir(&folder).unwrap();
    let folder = format!("loaders.output_dir={}", folder.display());
    with_config("predict", &prediction, &[&folder]).succeeded();
    let read = |path: &Path| {
        let file = hdf5::File::open(path).unwrap();
        file.dataset("predictions").unwrap().read_dyn::<f32>().unwrap()
    };
    let (called, direct) = (read(&called), read(&lab.path("direct/a_predictions.h5")));
    assert_eq!(called.shape(), direct.shape());
    let off = called.iter().zip(&direct).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off < 1e-6, "off by {off}");
}
