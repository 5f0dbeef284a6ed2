//! Raw data, labels and weights in files of their own, of several formats.

use std::fs;
use std::path::Path;

use ndarray::Array3;

use crate::support::lab::{Lab, balls};
use crate::support::program::{Run, with_config};
use unet3d::checkpoint::Checkpoint;

/// Writes a volume as NRRD or MetaImage, by its name.
fn write(path: &Path, [d, h, w]: [usize; 3], (nrrd, meta): (&str, &str), voxels: &[u8]) {
    let header = match path.extension().and_then(|extension| extension.to_str()) {
        Some("nrrd") => format!(
            "NRRD0004\ntype: {nrrd}\ndimension: 3\nsizes: {w} {h} {d}\nendian: little\n\
             encoding: raw\n\n"
        ),
        _ => format!(
            "ObjectType = Image\nNDims = 3\nDimSize = {w} {h} {d}\nElementType = {meta}\n\
             BinaryDataByteOrderMSB = False\nElementDataFile = LOCAL\n"
        ),
    };
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, [header.as_bytes(), voxels].concat()).unwrap();
}

/// Writes an array as a file of its own, labels as uint8.
fn save(lab: &Lab, to: &str, array: &Array3<f32>, is_label: bool) {
    let (d, h, w) = array.dim();
    if is_label {
        let bytes: Vec<u8> = array.iter().map(|value| *value as u8).collect();
        write(&lab.path(to), [d, h, w], ("uchar", "MET_UCHAR"), &bytes);
    } else {
        let bytes: Vec<u8> = array.iter().flat_map(|value| value.to_le_bytes()).collect();
        write(&lab.path(to), [d, h, w], ("float", "MET_FLOAT"), &bytes);
    }
}

/// Trains on what the overrides say.
fn train(lab: &Lab, overrides: &[&str]) -> Run {
    let _ = fs::remove_dir_all(lab.path("run"));
    let common = ["precision=fp64", "trainer.iters=3", "loaders.num_workers=0"];
    let overrides: Vec<String> = common
        .iter()
        .chain(overrides)
        .map(|text| text.replace('@', &lab.directory.path().display().to_string()))
        .collect();
    let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
    with_config("train", &lab.training(), &overrides)
}

#[test]
fn pairs_of_files_train_the_network_of_one_file() {
    let lab = Lab::new();
    let size = [8, 16, 20];
    lab.balls("val.h5", [8, 16, 16], 3);
    for (file, seed, raw, label, weight) in [
        ("t2.h5", 1, "raw/t2.nrrd", "masks/t2_mask.mha", "weights/t2_weight.mha"),
        ("t10.h5", 2, "raw/t10_img.mha", "masks/t10_label.nrrd", "weights/t10.nrrd"),
    ] {
        lab.balls(file, size, seed);
        // What `Lab::balls` writes.
        let (raw_values, label_values) = balls(size, seed);
        save(&lab, raw, &raw_values, false);
        save(&lab, label, &label_values, true);
        save(&lab, weight, &label_values.mapv(|label| 1.0 + 5.0 * label), false);
    }
    let trained = |overrides: &[&str]| {
        train(&lab, overrides).succeeded();
        Checkpoint::read(&lab.path("run/last_checkpoint.pytorch")).unwrap().model_state
    };
    let expected = trained(&["loaders.train.file_paths=[@/t2.h5, @/t10.h5]"]);
    for overrides in [
        // Patterns and a folder, paired by names.
        &[
            "loaders.train.file_paths=@/raw/*",
            "loaders.train.label_paths=@/masks/*.*",
            "loaders.train.weight_paths=@/weights",
        ][..],
        // Some volumes in files of their own, others not.
        &["loaders.train.file_paths=[{raw: @/t2.h5, label: @/masks/t2_mask.mha}, \
           {raw: @/raw/t10_img.mha, label: @/t10.h5, weight: @/weights/t10.nrrd}]"],
    ] {
        assert!(trained(overrides) == expected, "{overrides:?}");
    }

    let raw = "loaders.train.file_paths=@/raw";
    train(&lab, &[raw, "loaders.train.label_paths=[@/masks/t2_mask.mha]"])
        .failed_with(2, &["t10_img.mha has no label file", "label_paths"]);
    train(&lab, &[raw]).failed_with(1, &["t2.nrrd", "label_paths", "`label`"]);
    let small = "loaders.train.label_paths=[@/small/t2.nrrd, @/masks/t10_label.nrrd]";
    write(&lab.path("small/t2.nrrd"), [1, 2, 3], ("uchar", ""), &[0; 6]);
    train(&lab, &[raw, small]).failed_with(1, &["small/t2.nrrd is [1, 2, 3]", "raw/t2.nrrd"]);
    // `check` finds what `train` would.
    let config = lab.training();
    let place = |text: &str| text.replace('@', &lab.directory.path().display().to_string());
    with_config("check", &config, &[&place(raw), &place(small)]).failed_with(1, &["[1, 2, 3]"]);
}
