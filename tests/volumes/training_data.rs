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
        assert_eq!(read_image(&fixture(name), "raw").unwrap().volume, raw, "{name}");
    }
    let floats = read_image(&fixture("4_img.tif"), "raw").unwrap().volume;
    assert_eq!(floats.element().name(), "float32");
    assert_eq!(floats.into_f32(), raw.into_f32());
    let label = expected("label");
    for name in ["1_label.nrrd", "3_label.tif"] {
        let found = read_image(&fixture(name), "label").unwrap().volume;
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
    let label = label.to_str().unwrap();
    make_without_labels(&[arguments, &["--label", label]].concat(), raw, output)
}

fn make_without_labels(arguments: &[&str], raw: &Path, output: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_unet3d"))
        .env_clear()
        .arg("make-training-data")
        .arg("--raw")
        .arg(raw)
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

#[test]
fn numbered_cells_become_foreground_background_and_gaps() {
    let folder = tempfile::tempdir().unwrap();
    let (images, output) = (folder.path().join("images"), folder.path().join("train"));
    let masks = ["c1_cp_masks.tif", "c2_labels.tif", "c3_masks.tif"];
    copy(&masks, &images);
    for name in ["c1.tif", "c2_img.tif", "c3.tif"] {
        fs::copy(fixture("3_img.tif"), images.join(name)).unwrap();
    }
    let run = make(&["--instances"], &images, &images, &output);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let painted = dataset(&fixture("cells.h5"), "painted").into_f32();
    assert!([1.0, 2.0, 3.0].iter().all(|label| painted.iter().any(|found| found == label)));
    for name in ["c1.h5", "c2.h5", "c3.h5"] {
        let file = output.join(name);
        assert_eq!(dataset(&file, "raw"), expected("raw"), "{name}");
        let (label, weight) =
            (dataset(&file, "label").into_f32(), dataset(&file, "weight").into_f32());
        for ((painted, label), weight) in painted.iter().zip(&label).zip(&weight) {
            assert_eq!(*label == 1.0, *painted == 1.0, "{name}");
            assert_eq!(*weight == 10.0, *painted == 3.0, "{name}");
            assert!(*weight >= 1.0, "{name}: every voxel is labelled");
        }
    }
    assert_eq!(output.read_dir().unwrap().count(), 3);
    // Numbers of cells are no painted labels.
    let run = make(&[], &images.join("c1.tif"), &images.join(masks[0]), &folder.path().join("no"));
    assert!(String::from_utf8_lossy(&run.stderr).contains("--instances"));
}

#[test]
fn images_without_labels_become_files_to_predict() {
    let folder = tempfile::tempdir().unwrap();
    let (images, output) = (folder.path().join("images"), folder.path().join("predict"));
    copy(&["1_img.nrrd", "3_img.tif"], &images);
    let formats = Path::new("tests/fixtures/formats");
    fs::copy(formats.join("two.nii"), images.join("4.nii")).unwrap();
    let run = make_without_labels(&[], &images, &output);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    for name in ["1.h5", "3.h5"] {
        let file = H5File::open(&output.join(name)).unwrap();
        assert_eq!(file.dataset("raw").unwrap().read().unwrap(), expected("raw"), "{name}");
        assert!(file.dataset("label").is_err(), "{name}");
    }
    let size = H5File::open(&output.join("1.h5")).unwrap().dataset("raw").unwrap().voxel_size();
    assert_eq!(size, Some([0.54; 3]));
    assert_eq!(dataset(&output.join("4.h5"), "raw"), dataset(&formats.join("expected.h5"), "two"));
    let run = make_without_labels(&["--instances"], &images, &folder.path().join("no"));
    assert_eq!(run.status.code(), Some(2));
}

#[test]
fn a_file_that_cannot_be_written_to_its_end_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("train");
    for blocks in [1, 4, 8] {
        let run = Command::new("sh")
            .args(["-c", &format!("ulimit -f {blocks}; exec \"$0\" \"$@\"")])
            .arg(env!("CARGO_BIN_EXE_unet3d"))
            .args(["make-training-data", "--raw"])
            .arg(fixture("3_img.tif"))
            .arg("--label")
            .arg(fixture("3_label.tif"))
            .arg("--output")
            .arg(&output)
            .env_clear()
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(1), "{blocks}: {message}");
        assert!(message.contains("3.h5: writing failed: File too large"), "{message}");
        assert_eq!(output.read_dir().unwrap().count(), 0, "something was left behind");
    }
}
