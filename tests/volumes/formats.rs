//! Volumes of every format that is read, wherever HDF5 can be read; the files are those
//! of `tests/fixtures/make_training_data.py`.

use std::fs;
use std::path::Path;

use crate::support::fixture;
use crate::support::lab::{Lab, read};
use crate::support::program::with_config;
use unet3d::checkpoint::{Checkpoint, TensorData};
use unet3d::format;
use unet3d::volume::{Statistics, Volume, Window};

/// The same uint16 volume in HDF5, gzipped NRRD, NRRD with its data beside it, and TIFF.
const FILES: [&str; 4] = ["expected.h5", "1_img.nrrd", "2_img.nhdr", "3_img.tif"];

fn images(lab: &Lab) {
    for name in FILES.iter().chain(&["2_img.raw"]) {
        fs::copy(fixture("training_data").join(name), lab.path(name)).unwrap();
    }
}

/// Trains on the raw data of one file alone, which serve as labels, too.
const TRAIN: &str = "
manual_seed: 3
precision: fp64
model: {name: UNet3D, in_channels: 1, out_channels: 1, f_maps: [2, 4], num_groups: 1, is_segmentation: false}
trainer: {checkpoint_dir: '@/run', iters: 3, validate_after_iters: 3, log_after_iters: 3, epochs: 9}
optimizer: {learning_rate: 0.01, weight_decay: 0}
loss: {name: MSELoss}
eval_metric: {name: MSE}
loaders:
  num_workers: 0
  raw_internal_path: raw
  label_internal_path: raw
  train: &data
    file_paths: ['@/IMAGE']
    slice_builder: {name: SliceBuilder, patch_shape: [4, 16, 16], stride_shape: [2, 3, 7], skip_shape_check: true}
    transformer:
      raw: [{name: Standardize}, {name: ToTensor, expand_dims: true}]
      label: [{name: ToTensor, expand_dims: true}]
  val:
    <<: *data
    file_paths: ['@/val.h5']
";

const PREDICT: &str = "
model_path: '@/run/last_checkpoint.pytorch'
model: {name: UNet3D, in_channels: 1, out_channels: 1, f_maps: [2, 4], num_groups: 1, is_segmentation: false}
predictor: {name: StandardPredictor, patch_halo: [1, 2, 2]}
loaders:
  mirror_padding: [1, 4, 4]
  output_dir: '@/out'
  test:
    file_paths: ['@/IMAGE']
    slice_builder: {name: SliceBuilder, patch_shape: [4, 16, 16], stride_shape: [2, 3, 7], skip_shape_check: true}
    transformer:
      raw: [{name: Standardize}, {name: ToTensor, expand_dims: true}]
";

/// The weights that training on a file ends with.
fn trained(lab: &Lab, image: &str, overrides: &[&str]) -> Vec<(String, TensorData)> {
    let _ = fs::remove_dir_all(lab.path("run"));
    let config = lab.config("train.yaml", &TRAIN.replace("IMAGE", image));
    with_config("train", &config, overrides).succeeded();
    Checkpoint::read(&lab.path("run/last_checkpoint.pytorch")).unwrap().model_state
}

#[test]
fn every_format_trains_the_same_network_in_memory_and_lazily() {
    let lab = Lab::new();
    images(&lab);
    lab.balls("val.h5", [4, 16, 16], 2);
    let expected = trained(&lab, FILES[0], &[]);
    for image in &FILES[1..] {
        for dataset in ["StandardHDF5Dataset", "LazyHDF5Dataset"] {
            let found = trained(&lab, image, &[&format!("loaders.dataset={dataset}")]);
            assert!(found == expected, "{image} {dataset}");
        }
    }
}

#[test]
fn every_format_is_predicted_the_same_in_memory_and_lazily() {
    let lab = Lab::new();
    images(&lab);
    lab.balls("val.h5", [4, 16, 16], 2);
    trained(&lab, FILES[0], &[]);
    let predict = |image: &str, predictor: &str| {
        let config = lab.config("predict.yaml", &PREDICT.replace("IMAGE", image));
        with_config("check", &config, &[]).succeeded();
        with_config("predict", &config, &[&format!("predictor.name={predictor}")]).succeeded();
        let stem = Path::new(image).file_stem().unwrap().to_string_lossy();
        read(&lab.path(&format!("out/{stem}_predictions.h5")), "predictions")
    };
    let expected = predict(FILES[0], "StandardPredictor");
    for image in FILES {
        for predictor in ["StandardPredictor", "LazyPredictor"] {
            assert!(predict(image, predictor) == expected, "{image} {predictor}");
        }
    }
}

#[test]
fn windows_are_those_of_the_whole_volume() {
    let whole = |name: &str| -> Volume {
        format::open(&fixture("training_data").join(name), "raw").unwrap().read().unwrap()
    };
    let expected = whole("expected.h5");
    for name in ["1_img.nrrd", "2_img.nhdr", "3_img.tif", "4_img.tif"] {
        let reader = format::open(&fixture("training_data").join(name), "raw").unwrap();
        for (origin, size) in
            [([0, 0, 0], [1, 1, 1]), ([3, 5, 7], [2, 9, 16]), ([6, 0, 22], [1, 19, 1])]
        {
            let window = Window::new(origin, size);
            for threads in [1, 3] {
                let part = reader.read_part(0..1, &window, threads).unwrap();
                assert_eq!(part.element(), reader.element(), "{name}");
                assert_eq!(part.cast(expected.element()), expected.window(&window), "{name}");
            }
        }
        assert_eq!(reader.statistics().unwrap(), Statistics::of(&expected).unwrap(), "{name}");
    }
    let spacing = format::open(&fixture("training_data").join("1_img.nrrd"), "raw").unwrap();
    assert_eq!(spacing.voxel_size(), Some([0.54; 3]));
}

#[test]
fn a_directory_without_hdf5_files_stands_for_its_images() {
    let lab = Lab::new();
    lab.balls("val.h5", [4, 16, 16], 2);
    fs::create_dir(lab.path("images")).unwrap();
    for name in ["1_img.nrrd", "3_img.tif"] {
        fs::copy(fixture("training_data").join(name), lab.path("images").join(name)).unwrap();
    }
    images(&lab);
    trained(&lab, FILES[0], &[]);
    let config = lab.config("predict.yaml", &PREDICT.replace("IMAGE", "images"));
    with_config("predict", &config, &[]).succeeded();
    for stem in ["1_img", "3_img"] {
        assert!(lab.path(&format!("out/{stem}_predictions.h5")).is_file(), "{stem}");
    }
}

#[test]
fn damaged_images_are_refused_with_file_and_reason() {
    let lab = Lab::new();
    images(&lab);
    lab.balls("val.h5", [4, 16, 16], 2);
    let refused = |name: &str, bytes: &[u8], words: &[&str]| {
        fs::write(lab.path(name), bytes).unwrap();
        let config = lab.config("train.yaml", &TRAIN.replace("IMAGE", name));
        for dataset in ["StandardHDF5Dataset", "LazyHDF5Dataset"] {
            let words = [&[name], words].concat();
            let run = with_config("train", &config, &[&format!("loaders.dataset={dataset}")]);
            run.failed_with(1, &words);
        }
    };
    let nrrd = fs::read(lab.path("1_img.nrrd")).unwrap();
    refused("a.nrrd", &nrrd[..nrrd.len() / 2], &["the data"]);
    refused("a.nrrd", b"NRRD0004\ntype: ushort\n\n", &["`sizes`"]);
    let tiff = fs::read(lab.path("3_img.tif")).unwrap();
    refused("a.tif", &tiff[..tiff.len() / 2], &["page"]);
    refused("a.tif", b"II*\0", &["not a TIFF file that can be read"]);
    refused("a.tif", b"", &["not a TIFF file that can be read"]);
}

/// A TIFF file of one page of 2 by 2 pixels, in one strip.
fn page(bits: u16, photometric: u16, format: u16, pixels: &[u8]) -> Vec<u8> {
    let entries: [(u16, u32); 9] = [
        (256, 2),
        (257, 2),
        (258, bits.into()),
        (259, 1),
        (262, photometric.into()),
        (273, 8 + 2 + 9 * 12 + 4),
        (278, 2),
        (279, pixels.len() as u32),
        (339, format.into()),
    ];
    let mut file = b"II*\0\x08\0\0\0\x09\0".to_vec();
    for (tag, value) in entries {
        file.extend(tag.to_le_bytes());
        // One number of 32 bits each.
        file.extend([4, 0, 1, 0, 0, 0]);
        file.extend(value.to_le_bytes());
    }
    file.extend([0; 4]);
    file.extend(pixels);
    file
}

#[test]
fn numbers_of_white_is_zero_images_are_those_that_are_stored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tif");
    for photometric in [0, 1] {
        fs::write(&path, page(8, photometric, 1, &[0, 1, 200, 255])).unwrap();
        let values = format::read(&path, "").unwrap().into_f32();
        assert_eq!(values.into_raw_vec_and_offset().0, [0.0, 1.0, 200.0, 255.0]);
        fs::write(&path, page(16, photometric, 1, &[0, 0, 1, 0, 2, 1, 255, 255])).unwrap();
        let values = format::read(&path, "").unwrap().into_f32();
        assert_eq!(values.into_raw_vec_and_offset().0, [0.0, 1.0, 258.0, 65_535.0]);
    }
    let refused = |bits, format, pixels: &[u8], says: &str| {
        fs::write(&path, page(bits, 0, format, pixels)).unwrap();
        let error = format!("{:#}", format::read(&path, "").unwrap_err());
        assert!(error.contains("a.tif") && error.contains(says), "{error}");
    };
    refused(32, 3, &[0; 16], "black as zero");
    refused(16, 2, &[0; 8], "black as zero");
    refused(1, 1, &[0x80, 0x40], "8, 16 or 32 bits");
}
