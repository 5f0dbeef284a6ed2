//! Training files against weights made with numpy, from images written by
//! SimpleITK, tifffile and h5py; see `tests/fixtures/make_training_data.py`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ndarray::Array4;
use unet3d::format::h5::H5File;
use unet3d::training_data::{Weighting, read_image};
use unet3d::volume::{Volume, VolumeReader};

fn fixture(name: &str) -> PathBuf {
    Path::new("tests/fixtures/training_data").join(name)
}

fn dataset(path: &Path, name: &str) -> Volume {
    H5File::open(path).unwrap().dataset(name).unwrap().read().unwrap()
}

fn expected(name: &str) -> Volume {
    dataset(&fixture("expected.h5"), name)
}

#[test]
fn every_format_gives_the_same_volume() {
    let raw = expected("raw");
    for name in ["1_img.nrrd", "2_img.nhdr", "3_img.tif"] {
        assert_eq!(read_image(&fixture(name), "raw").unwrap(), raw, "{name}");
    }
    let floats = read_image(&fixture("4_img.tif"), "raw").unwrap();
    assert_eq!(floats.element().name(), "float32");
    assert_eq!(floats.into_f32(), raw.into_f32());
    let label = expected("label");
    for name in ["1_label.nrrd", "3_label.tif"] {
        let found = read_image(&fixture(name), "label").unwrap();
        assert_eq!(found.cast(label.element()), label, "{name}");
    }
}

#[test]
fn weights_follow_their_definition() {
    let painted = expected("label").cast(unet3d::volume::Element::U8);
    let unet3d::volume::Values::U8(painted) = painted.values else { unreachable!() };
    let painted = painted.index_axis_move(ndarray::Axis(0), 0);
    let defaults = Weighting::default();
    for (name, weighting) in [
        ("weight", defaults),
        ("weight_notebook", Weighting { foreground: 5.0, gap: 20.0, scale_gaps: true, ..defaults }),
        ("weight_isotropic", Weighting { decay_xy: 0.54, decay_z: 0.54, ..defaults }),
    ] {
        let found = weighting.apply(&painted).unwrap().weight;
        let expected: Array4<f32> = expected(name).into_f32();
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-6 * expected, "{name}: {found} {expected}");
        }
    }
}

fn make(arguments: &[&str], raw: &Path, label: &Path, output: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_unet3d"))
        .env_clear()
        .arg("make-training-data")
        .arg("--raw")
        .arg(raw)
        .arg("--label")
        .arg(label)
        .arg("--output")
        .arg(output)
        .args(arguments)
        .output()
        .unwrap()
}

fn copy(names: &[&str], folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for name in names {
        fs::copy(fixture(name), folder.join(name)).unwrap();
    }
}

#[test]
fn a_folder_becomes_training_files() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, label) = (folder.path().join("img"), folder.path().join("label"));
    let output = folder.path().join("train");
    copy(&["1_img.nrrd", "3_img.tif"], &raw);
    copy(&["1_label.nrrd", "3_label.tif"], &label);

    let arguments = ["--foreground", "5", "--gap", "20", "--scale-gaps"];
    let run = make(&arguments, &raw, &label, &output);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    for name in ["1.h5", "3.h5"] {
        let file = output.join(name);
        assert_eq!(dataset(&file, "raw"), expected("raw"));
        assert_eq!(dataset(&file, "weight"), expected("weight_notebook"));
        let foreground = expected("label").into_f32().mapv(|label| f32::from(label == 1.0));
        assert_eq!(dataset(&file, "label").into_f32(), foreground);
    }
    assert_eq!(output.read_dir().unwrap().count(), 2, "something else was left behind");

    let again = make(&[], &raw, &label, &output);
    assert_eq!(again.status.code(), Some(1));
    let message = String::from_utf8_lossy(&again.stderr);
    assert!(message.contains("1.h5") && message.contains("3.h5"), "{message}");
}

#[test]
fn images_and_labels_of_unlike_sizes_are_both_named() {
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("1_label.nrrd");
    fs::write(&small, b"NRRD0004\ntype: uchar\nsizes: 1 1 1\nencoding: raw\n\n\x01").unwrap();
    let run = make(&[], &fixture("1_img.nrrd"), &small, &folder.path().join("out"));
    assert_eq!(run.status.code(), Some(1));
    let message = String::from_utf8_lossy(&run.stderr);
    assert!(message.contains("[7, 19, 23]") && message.contains("[1, 1, 1]"), "{message}");
}

#[test]
fn a_raw_image_given_as_labels_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let run = make(&[], &fixture("1_img.nrrd"), &fixture("3_img.tif"), folder.path());
    assert_eq!(run.status.code(), Some(1));
    let message = String::from_utf8_lossy(&run.stderr);
    assert!(message.contains("labels are 0, 1, 2 and 3"), "{message}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[test]
fn weights_below_zero_are_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let run = make(&["--gap=-1"], &fixture("1_img.nrrd"), &fixture("1_label.nrrd"), folder.path());
    assert_eq!(run.status.code(), Some(2));
}
