//! Volumes that are brought to one size of voxels: values of scipy and SimpleITK, see
//! `tests/fixtures/make_voxel_size.py`; training and prediction as of files that were
//! resampled before.

use std::fs;

use hdf5::File;
use ndarray::{Array4, Ix3};

use crate::support::fixture;
use crate::support::lab::{Lab, read};
use crate::support::program::with_config;
use unet3d::checkpoint::Checkpoint;
use unet3d::format;
use unet3d::resample::grid::{Grid, Interpolation, Places, grids_to, linear, resampled};
use unet3d::volume::{Element, Window};

#[test]
fn volumes_are_resampled_as_by_scipy_and_itk() {
    let path = fixture("voxel_size.h5");
    for (name, wanted) in
        [("coarse", [0.9, 0.31, 0.23]), ("fine", [0.21, 0.13, 0.07]), ("mixed", [0.4, 0.2, 0.3])]
    {
        let expected = format::read(&path, &format!("{name}_raw")).unwrap();
        let raw = format::open(&path, "raw").unwrap();
        let grids = grids_to(&*raw, wanted).unwrap();
        let found = resampled(raw, grids, Interpolation::Linear);
        assert_eq!(found.size(), expected.size(), "{name}");
        let close = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(found.voxel_size().unwrap().iter().zip(wanted).all(|(a, b)| close(*a, b)));
        let whole = found.read().unwrap();
        assert_eq!(whole.element(), Element::F32);
        for (found, expected) in whole.clone().into_f32().iter().zip(&expected.into_f32()) {
            // Of numbers up to 4095; ratios are taken with six digits.
            assert!((found - expected).abs() < 0.05, "{name}: {found} {expected}");
        }
        // The same voxels whatever the window is.
        let size = found.size();
        let window = Window::new([1, 2, 3], size.map(|n| n / 2));
        assert_eq!(found.read_window(&window).unwrap(), whole.window(&window), "{name}");

        let label = format::open(&path, "label").unwrap();
        let label = resampled(label, grids, Interpolation::Nearest).read().unwrap();
        assert_eq!(label.element(), Element::U8);
        assert_eq!(label, format::read(&path, &format!("{name}_label")).unwrap(), "{name}");
    }
}

const TRAIN: &str = "
manual_seed: 3
precision: fp64
model: {name: UNet3D, in_channels: 1, out_channels: 8, f_maps: [2, 4], num_groups: 1, final_sigmoid: false}
trainer: {checkpoint_dir: '@/run', iters: 2, validate_after_iters: 2, log_after_iters: 2, epochs: 9}
optimizer: {learning_rate: 0.01, weight_decay: 0}
loss: {name: CrossEntropyLoss}
eval_metric: {name: MeanIoU}
loaders:
  num_workers: 0
  train: &data
    file_paths: ['@/a.h5']
    slice_builder: {name: SliceBuilder, patch_shape: [4, 8, 8], stride_shape: [4, 8, 8], skip_shape_check: true}
    transformer:
      raw: [{name: Standardize}, {name: ToTensor, expand_dims: true}]
      label: [{name: ToTensor, expand_dims: false, dtype: long}]
  val:
    <<: *data
    file_paths: ['@/b.h5']
";

const PREDICT: &str = "
model_path: '@/run/last_checkpoint.pytorch'
model: {name: UNet3D, in_channels: 1, out_channels: 8, f_maps: [2, 4], num_groups: 1, final_sigmoid: false}
predictor: {name: StandardPredictor, patch_halo: [1, 2, 2], save_segmentation: true, preview: true}
loaders:
  mirror_padding: [1, 2, 2]
  output_dir: '@/out'
  test:
    file_paths: ['@/a.h5']
    slice_builder: {name: SliceBuilder, patch_shape: [4, 8, 8], stride_shape: [2, 4, 4], skip_shape_check: true}
    transformer:
      raw: [{name: Standardize}, {name: ToTensor, expand_dims: true}]
";

#[test]
fn networks_meet_voxels_of_one_size() {
    let lab = Lab::new();
    let wanted = [0.4, 0.3, 0.15];
    for name in ["a.h5", "b.h5"] {
        fs::copy(fixture("voxel_size.h5"), lab.path(name)).unwrap();
    }
    // The same volumes, resampled before.
    let raw = format::open(&lab.path("a.h5"), "raw").unwrap();
    let (own, size) = (raw.voxel_size().unwrap(), raw.size());
    let grids = grids_to(&*raw, wanted).unwrap();
    for name in ["done.h5", "done_too.h5"] {
        let file = File::create(lab.path(name)).unwrap();
        for (dataset, interpolation) in
            [("raw", Interpolation::Linear), ("label", Interpolation::Nearest)]
        {
            let reader = format::open(&lab.path("a.h5"), dataset).unwrap();
            let volume = resampled(reader, grids, interpolation).read().unwrap().into_f32();
            let values = volume.index_axis(ndarray::Axis(0), 0).to_owned();
            if dataset == "label" {
                let values = values.mapv(|label| label as u8);
                file.new_dataset_builder().with_data(&values).create(dataset).unwrap();
            } else {
                file.new_dataset_builder().with_data(&values).create(dataset).unwrap();
            }
        }
    }
    let trained = |overrides: &[&str]| {
        let _ = fs::remove_dir_all(lab.path("run"));
        let at = lab.directory.path().display().to_string();
        let overrides: Vec<String> = overrides.iter().map(|text| text.replace('@', &at)).collect();
        let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
        with_config("train", &lab.config("train.yaml", TRAIN), &overrides).succeeded();
        Checkpoint::read(&lab.path("run/last_checkpoint.pytorch")).unwrap().model_state
    };
    let size_set = "loaders.voxel_size=[0.4, 0.3, 0.15]";
    let done =
        ["loaders.train.file_paths=['@/done.h5']", "loaders.val.file_paths=['@/done_too.h5']"];
    let expected = trained(&done);
    for dataset in ["StandardHDF5Dataset", "LazyHDF5Dataset"] {
        let found = trained(&[size_set, &format!("loaders.dataset={dataset}")]);
        assert!(found == expected, "{dataset}");
    }

    let config = lab.config("predict.yaml", PREDICT);
    let inputs = format!("loaders.test.file_paths=['{}']", lab.path("done.h5").display());
    with_config("predict", &config, &[&inputs]).succeeded();
    let coarse = read(&lab.path("out/done_predictions.h5"), "predictions");
    let coarse: Array4<f32> = coarse.into_dimensionality().unwrap();
    let places: [Places; 3] = std::array::from_fn(|axis| {
        Grid::new(size[axis], own[axis], wanted[axis]).back().linear(0..size[axis])
    });
    let expected = linear(coarse, places.each_ref());
    for predictor in ["StandardPredictor", "LazyPredictor"] {
        let predictor = format!("predictor.name={predictor}");
        with_config("check", &config, &[size_set, &predictor]).succeeded();
        with_config("predict", &config, &[size_set, &predictor]).succeeded();
        let output = lab.path("out/a_predictions.h5");
        let found = read(&output, "predictions");
        assert_eq!(found.shape(), [8, size[0], size[1], size[2]]);
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
        // The likeliest class of these probabilities.
        let classes = read(&output, "segmentation");
        assert_eq!(classes.shape(), size);
        for ((z, y, x), class) in classes.into_dimensionality::<Ix3>().unwrap().indexed_iter() {
            let of = |class: usize| found[[class, z, y, x]];
            assert!((0..8).all(|other| of(other) <= of(*class as usize)));
        }
    }
    assert!(lab.path("out/a_predictions.png").is_file());

    // A file that does not tell the size of its voxels.
    let run = with_config("predict", &config, &[size_set, &inputs]);
    run.failed_with(1, &["done.h5", "loaders.voxel_size", "element_size_um"]);
    let run = with_config("check", &config, &["loaders.voxel_size=[1, 0, 1]"]);
    run.failed_with(2, &["voxel_size", "3 numbers"]);
}
