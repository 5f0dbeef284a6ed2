//! Volumes of every format that is read, wherever HDF5 can be read; the files are those
//! of `tests/fixtures/make_training_data.py` and `make_formats.py`.

use std::fs;

use crate::support::lab::Lab;
use crate::support::program::with_config;
use crate::support::{copy, fixture};
use unet3d::checkpoint::{Checkpoint, TensorData};
use unet3d::format;
use unet3d::volume::{Statistics, Volume, Window};

/// The same uint16 volume in all formats, OME-Zarr 0.4 and 0.5 among them, and files that
/// belong to them.
const FILES: [&str; 9] = [
    "expected.h5",
    "v04.zarr",
    "v05.zarr",
    "v.tif",
    "v.ome.tif",
    "v.nrrd",
    "plain.nhdr",
    "v.nii.gz",
    "v.mha",
];

fn images(lab: &Lab) {
    for name in FILES.iter().chain(&["plain.raw"]) {
        copy(&place(name), &lab.path(name));
    }
    for name in ["1_img.nrrd", "3_img.tif"] {
        copy(&fixture("training_data").join(name), &lab.path(name));
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
        let _ = fs::remove_dir_all(lab.path("out"));
        with_config("check", &config, &[]).succeeded();
        with_config("predict", &config, &[&format!("predictor.name={predictor}")]).succeeded();
        // In the format of the input.
        let mut outputs = fs::read_dir(lab.path("out")).unwrap().map(|e| e.unwrap().path());
        let output = outputs.next().unwrap();
        assert_eq!(format::of(&output).unwrap().name, format::of(&place(image)).unwrap().name);
        format::read(&output, "predictions").unwrap().into_f32()
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
    for name in ["1_img_predictions.nrrd", "3_img_predictions.tif"] {
        assert!(lab.path("out").join(name).is_file(), "{name}");
    }
}

/// Pages that pass for time points, with a key in place of a choice at the end of each path.
#[test]
fn the_configuration_says_what_the_axes_are() {
    let lab = Lab::new();
    images(&lab);
    lab.balls("val.h5", [4, 16, 16], 2);
    let expected = trained(&lab, "expected.h5", &[]);
    // The note of tifffile's becomes one of ImageJ's, for which there is room.
    let note = b"ImageJ=1.54f\nimages=7\nframes=7\n\0";
    let mut bytes = fs::read(lab.path("v.tif")).unwrap();
    let place = |bytes: &[u8], wanted: &[u8]| {
        bytes.windows(wanted.len()).position(|found| found == wanted).unwrap()
    };
    let text = place(&bytes, b"{\"shape\":");
    bytes[text..text + note.len()].copy_from_slice(note);
    let length = place(&bytes, &[14, 1, 2, 0, 23, 0, 0, 0]) + 4;
    bytes[length] = note.len() as u8;
    fs::write(lab.path("v.tif"), bytes).unwrap();
    let config = lab.config("train.yaml", &TRAIN.replace("IMAGE", "v.tif"));
    with_config("check", &config, &[]).failed_with(1, &["v.tif", "axis t"]);
    let axes = "loaders.train.axes=zyx";
    assert!(trained(&lab, "v.tif", &[axes]) == expected);
    let config = lab.config("predict.yaml", &PREDICT.replace("IMAGE", "v.tif"));
    with_config("predict", &config, &["loaders.test.axes=ZYX"]).succeeded();
    let found = format::read(&lab.path("out/v_predictions.tif"), "").unwrap();
    assert_eq!(found.size(), [7, 19, 23]);
    with_config("check", &config, &["loaders.test.axes=zyw"])
        .failed_with(2, &["loaders.test.axes", "t, c, z, y and x"]);
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
    refused(12, 1, &[0; 6], "8, 16 or 32 bits");
    fs::write(&path, page(1, 0, 1, &[0x80, 0x40])).unwrap();
    let bits = format::read(&path, "").unwrap().into_f32();
    assert_eq!(bits.into_raw_vec_and_offset().0, [1.0, 0.0, 0.0, 1.0]);
}

/// Files of `make_formats.py` that hold the data set `raw` of `expected.h5`, and whether
/// they tell the size of a voxel.
const RAW: &[(&str, bool)] = &[
    ("expected.h5", true),
    ("v.nrrd", true),
    ("plain.nhdr", true),
    ("v.mha", true),
    ("v.mhd", true),
    ("v.nii", true),
    ("v.nii.gz", true),
    ("big_endian.nii", true),
    ("second.nii", true),
    ("v.tif", false),
    ("lzw.tif", false),
    ("zstd.tif", false),
    ("packbits.tif", false),
    ("tiles.tif", false),
    ("lzw_tiles.tif", false),
    ("big.tif", false),
    ("white.tif", false),
    ("imagej.tif", true),
    ("v.ome.tif", true),
    ("one_directory.tif", false),
    ("v04.zarr", true),
    ("v04.zarr/s0", false),
    ("v05.zarr", true),
    ("plain3.zarr", false),
    ("group.zarr", false),
    ("group.zarr/raw", false),
    ("group2.zarr", false),
    ("zlib2.zarr", false),
    ("time_imagej.tif:t=0", true),
    ("time.nii:t=0", true),
    ("time04.zarr:t=0", true),
    ("two.ome.tif:c=0", true),
    ("two.nrrd:c=0", false),
    ("time.nii:axes=czyx:c=0", true),
];

fn place(name: &str) -> std::path::PathBuf {
    fixture("formats").join(name)
}

fn expected(name: &str) -> Volume {
    format::open(&place("expected.h5"), name).unwrap().read().unwrap()
}

#[test]
fn every_library_writes_the_same_volume() {
    let raw = expected("raw");
    let windows = [([0, 0, 0], [1, 1, 1]), ([3, 5, 7], [2, 9, 16]), ([6, 0, 22], [1, 19, 1])];
    for (name, told) in RAW {
        let reader = format::open(&place(name), "raw").unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(reader.stored().name(), "uint16", "{name}");
        for threads in [1, 3] {
            for (origin, size) in windows {
                let window = Window::new(origin, size);
                let part = reader.read_part(0..1, &window, threads).unwrap();
                assert_eq!(part, raw.window(&window), "{name} {window}");
            }
        }
        assert_eq!(reader.read().unwrap(), raw, "{name}");
        let size = reader.voxel_size();
        match (told, size) {
            (true, Some(size)) => {
                let close = |(a, b): (f64, f64)| (a - b).abs() < 1e-6 * b;
                assert!(size.into_iter().zip([0.54, 0.2, 0.1]).all(close), "{name}: {size:?}");
            }
            (told, size) => assert!(!told || size.is_some(), "{name}: {size:?}"),
        }
    }
}

#[test]
fn channels_are_found_where_the_file_has_them() {
    let two = expected("two");
    for name in [
        "two.nrrd",
        "two.mha",
        "two.nii",
        "time.nii:axes=czyx",
        "shaped.tif",
        "two_imagej.tif",
        "two.ome.tif",
        "two05.zarr",
        "time_imagej.tif:axes=czyx",
    ] {
        let reader = format::open(&place(name), "raw").unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(reader.read().unwrap(), two, "{name}");
        let window = Window::new([2, 3, 5], [3, 10, 11]);
        assert_eq!(reader.read_window(&window).unwrap(), two.window(&window), "{name}");
        let second = reader.read_part(1..2, &window, 2).unwrap();
        assert_eq!(second.shape(), [1, 3, 10, 11], "{name}");
    }
    let names = format::open(&place("two.ome.tif"), "raw").unwrap().calibration().channels;
    assert_eq!(names, ["GFP", "RFP"]);
}

#[test]
fn every_type_of_number_is_read() {
    let types = "uint8 int8 uint16 int16 uint32 int32 uint64 int64 float32 float64";
    for name in types.split(' ') {
        let expected = expected(name);
        for file in [".nrrd", ".mha", ".nii", ".tif", ".zarr", "_2.zarr"] {
            let path = place(&format!("types/{name}{file}"));
            let reader = format::open(&path, "raw").unwrap_or_else(|error| panic!("{error:#}"));
            assert_eq!(reader.stored().name(), name, "{file}");
            assert_eq!(reader.read().unwrap(), expected, "{name}{file}");
        }
    }
}

#[test]
fn pages_of_one_bit_are_0_and_1() {
    let expected: Vec<u8> =
        expected("raw").into_f32().iter().map(|value| u8::from(value % 2.0 == 0.0)).collect();
    for name in ["bits.tif", "bits_white.tif"] {
        let found = format::read(&place(name), "raw").unwrap().into_f32();
        assert!(found.iter().zip(&expected).all(|(a, b)| *a == f32::from(*b)), "{name}");
    }
}

#[test]
fn chunks_that_were_never_written_hold_the_fill_value() {
    let raw = expected("raw").into_f32();
    for name in ["sparse.zarr", "sparse_shards.zarr"] {
        let found = format::read(&place(name), "raw").unwrap().into_f32();
        for ((c, z, y, x), value) in found.indexed_iter() {
            assert_eq!(*value, if z < 4 { raw[(c, z, y, x)] } else { 7.0 }, "{name}");
        }
    }
}

#[test]
fn what_is_no_volume_is_refused_with_its_cure() {
    for (name, words) in [
        ("rgb.tif", &["colour"][..]),
        ("sizes.tif", &["page 1 is 23 × 18 pixels", "files of their own"]),
        ("time_imagej.tif", &["axis t", ":t=N"]),
        ("time.nii", &["axis t", ":t=N"]),
        ("time04.zarr", &["axis t", ":t=N"]),
        ("time.nii:t=2", &["no t = 2"]),
        ("v.tif:c=0", &["no axis c"]),
        ("v.nrrd:axes=czyx", &["names 4"]),
        ("expected.h5:axes=zyx", &["HDF5"]),
        ("group.zarr/nothing", &["no such file"]),
        ("nothing.tif", &["no such file"]),
    ] {
        let error = format::open(&place(name), "raw").unwrap_err();
        let message = format!("{error:#}");
        for word in words.iter().chain(&[name.split(':').next().unwrap()]) {
            assert!(message.contains(word), "{name}: {message}");
        }
    }
    let error = format::open(&place("group.zarr"), "rew").unwrap_err();
    assert!(format!("{error:#}").contains("inner/label, raw"), "{error:#}");
}
