//! Predictions against those recorded from wolny/pytorch-3dunet 1.9.6: its networks, halo,
//! normalization of patches, segmentations, measures.

use std::fs;
use std::path::Path;

use hdf5::{Dataset, File};
use ndarray::{ArrayD, Axis, Slice};

use crate::support::fixture;
use crate::support::program::with_config;

/// A copy of a recorded case in a folder of its own, ready to run.
fn prepare(case: &Path, directory: &Path) {
    for entry in fs::read_dir(case).unwrap() {
        let (from, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
        if from.is_dir() {
            fs::create_dir_all(directory.join(&name)).unwrap();
            prepare(&from, &directory.join(&name));
        } else if name == "config.yaml" {
            let text = fs::read_to_string(&from).unwrap();
            let text = text.replace("@DIR@", &directory.display().to_string());
            fs::write(directory.join(name), text).unwrap();
        } else if name != "expected.h5" {
            fs::copy(&from, directory.join(name)).unwrap();
        }
    }
}

fn compare(case: &str, ours: &Dataset, expected: &Dataset) {
    let shape: Vec<usize> = expected.attr("shape").unwrap().read_raw().unwrap();
    assert_eq!(ours.shape(), shape, "{case}");
    assert!(!ours.filters().is_empty(), "{case}: it is compressed");
    if expected.dtype().unwrap().is::<u16>() {
        assert!(ours.dtype().unwrap().is::<u16>(), "{case}");
        let (ours, expected) =
            (ours.read_raw::<u16>().unwrap(), expected.read_raw::<u16>().unwrap());
        assert!(ours == expected, "{case}: segmentations differ");
        return;
    }
    assert!(ours.dtype().unwrap().is::<f32>(), "{case}");
    let mut thin: ArrayD<f32> = ours.read_dyn().unwrap();
    let expected: ArrayD<f32> = expected.read_dyn().unwrap();
    if thin.ndim() == 4 {
        (1..4).for_each(|axis| thin.slice_axis_inplace(Axis(axis), Slice::new(0, None, 2)));
    }
    assert_eq!(thin.shape(), expected.shape(), "{case}");
    let error = thin.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(error <= 1e-4, "{case}: {error}");
}

/// The ground truth may be in a file of another format.
#[test]
fn results_are_compared_with_the_labels_of_another_file() {
    let folder = tempfile::tempdir().unwrap();
    prepare(&fixture("recorded/upstream/predict/segmentation_binary"), folder.path());
    let config = folder.path().join("config.yaml");
    let input = folder.path().join("vol.h5");
    let measure = |overrides: &[&str]| -> Vec<f64> {
        let overrides = [&["device=cpu"], overrides].concat();
        with_config("check", &config, &overrides).succeeded();
        with_config("predict", &config, &overrides).succeeded();
        let beside = folder.path().join("vol_predictions.h5");
        let inside = folder.path().join("out/vol_predictions.h5");
        let file = File::open(if beside.exists() { beside } else { inside }).unwrap();
        file.attr("per_class_metric").unwrap().read_raw().unwrap()
    };
    let expected = measure(&[]);
    let truth: ndarray::Array3<u8> =
        File::open(&input).unwrap().dataset("label").unwrap().read().unwrap();
    let (d, h, w) = truth.dim();
    let header =
        |depth| format!("NRRD0004\ntype: uchar\nsizes: {w} {h} {depth}\nencoding: raw\n\n");
    let other = folder.path().join("truth.nrrd");
    let voxels: Vec<u8> = truth.iter().copied().collect();
    fs::write(&other, [header(d).as_bytes(), &voxels].concat()).unwrap();
    let name = "predictor.gt_internal_path=nowhere";
    let labels = format!("loaders.test.label_paths={}", other.display());
    assert_eq!(measure(&[name, &labels]), expected);
    fs::write(&other, [header(1).as_bytes(), &voxels].concat()).unwrap();
    with_config("check", &config, &["device=cpu", name, &labels])
        .failed_with(1, &["truth.nrrd", "ground truth"]);
}

#[test]
fn predictions_are_those_of_upstream() {
    let mut cases = 0;
    for entry in fs::read_dir(fixture("recorded/upstream/predict")).unwrap() {
        let recorded = entry.unwrap().path();
        let case = recorded.file_name().unwrap().to_str().unwrap().to_string();
        let folder = tempfile::tempdir().unwrap();
        prepare(&recorded, folder.path());
        let overrides = ["device=cpu"];
        let run = with_config("predict", &folder.path().join("config.yaml"), &overrides);
        let run = run.succeeded();
        assert!(run.out.contains("read as a file of upstream"), "{case}: {}", run.out);

        let expected = File::open(recorded.join("expected.h5")).unwrap();
        let out = folder.path().join("out");
        if case == "dsb2018" {
            for image in expected.member_names().unwrap() {
                let ours = File::open(out.join(format!("{image}_predictions.h5"))).unwrap();
                for name in ["predictions", "segmentation"] {
                    let expected = expected.dataset(&format!("{image}/{name}")).unwrap();
                    compare(&case, &ours.dataset(name).unwrap(), &expected);
                }
            }
        } else {
            let name = "vol_predictions.h5";
            let beside = folder.path().join(name);
            let ours = File::open(if beside.exists() { beside } else { out.join(name) }).unwrap();
            assert_eq!(ours.member_names().unwrap(), expected.member_names().unwrap(), "{case}");
            for name in expected.member_names().unwrap() {
                compare(&case, &ours.dataset(&name).unwrap(), &expected.dataset(&name).unwrap());
            }
            for name in expected.attr_names().unwrap() {
                let read = |file: &File| file.attr(&name).unwrap().read_raw::<f64>().unwrap();
                let (ours, expected) = (read(&ours), read(&expected));
                assert_eq!(ours.len(), expected.len(), "{case} {name}");
                for (ours, expected) in ours.iter().zip(expected) {
                    assert!((ours - expected).abs() < 1e-6, "{case} {name}: {ours} {expected}");
                }
                assert!(run.out.contains("Average metric: "), "{case}: {}", run.out);
            }
        }
        cases += 1;
    }
    assert_eq!(cases, 38);
}

#[test]
fn corrected_results_of_whole_images_stay() {
    let folder = tempfile::tempdir().unwrap();
    prepare(&fixture("recorded/upstream/predict/dsb2018"), folder.path());
    let config = folder.path().join("config.yaml");
    let out = folder.path().join("out");
    let to = format!("loaders.output_dir={}", out.display());
    let run = || with_config("predict", &config, &["device=cpu", &to]);
    run().succeeded();
    run().succeeded();
    let path = out.join("cell0_predictions.h5");
    let ours = fs::read(&path).unwrap();
    for what in ["voxels", "attribute"] {
        let mut unlocked = File::with_options();
        unlocked.with_fapl(|list| list.file_locking(false));
        let file = unlocked.open_rw(&path).unwrap();
        if what == "voxels" {
            let labels = file.dataset("segmentation").unwrap();
            let corrected =
                ndarray::Array2::<u16>::from_elem((labels.shape()[0], labels.shape()[1]), 5);
            labels.write(&corrected).unwrap();
        } else {
            file.new_attr::<i32>().create("checked").unwrap().write_scalar(&1).unwrap();
        }
        file.close().unwrap();
        let changed = fs::read(&path).unwrap();
        run().failed_with(1, &["cell0_predictions.h5", "was changed", "not replaced"]);
        assert!(fs::read(&path).unwrap() == changed, "{what}");
        fs::write(&path, &ours).unwrap();
    }
    // What the Python program writes, which leaves no mark, is replaced.
    let [probabilities, labels] = {
        let file = File::open(&path).unwrap();
        let read = |name: &str| -> ArrayD<f32> { file.dataset(name).unwrap().read_dyn().unwrap() };
        [read("predictions"), read("segmentation")]
    };
    let python = |more: bool| {
        let file = File::create(&path).unwrap();
        let builder = || file.new_dataset_builder().deflate(4);
        builder().with_data(&probabilities).create("predictions").unwrap();
        builder().with_data(&labels).create("segmentation").unwrap();
        if more {
            builder().with_data(&labels).create("corrected").unwrap();
        }
    };
    python(true);
    run().failed_with(1, &["cell0_predictions.h5", "not replaced"]);
    python(false);
    run().succeeded();
}
