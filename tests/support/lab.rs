//! A temporary folder with volumes, configurations and a trained network.

#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

use hdf5::File;
use ndarray::{Array3, Array4, ArrayD, s};
use tempfile::TempDir;

/// A folder with volumes and configurations, removed when the value is dropped.
pub struct Lab {
    pub directory: TempDir,
}

impl Lab {
    pub fn new() -> Self {
        Lab { directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file with one data set for each array.
    pub fn volume(&self, name: &str, arrays: &[(&str, ArrayD<f32>)]) -> PathBuf {
        let path = self.path(name);
        let file = File::create(&path).unwrap();
        for (dataset, array) in arrays {
            match *dataset {
                "label" => file
                    .new_dataset_builder()
                    .with_data(&array.mapv(|value| value as u8))
                    .create(*dataset)
                    .unwrap(),
                _ => file.new_dataset_builder().with_data(array).create(*dataset).unwrap(),
            };
        }
        path
    }

    /// Bright balls on a noisy ground: raw, label (0, 1) and weight (D, H, W).
    pub fn balls(&self, name: &str, size: [usize; 3], seed: u64) -> PathBuf {
        let (raw, label) = balls(size, seed);
        let weight = label.mapv(|label| 1.0 + 5.0 * label);
        self.volume(
            name,
            &[("raw", raw.into_dyn()), ("label", label.into_dyn()), ("weight", weight.into_dyn())],
        )
    }

    /// Writes a configuration; `@` stands for the directory.
    pub fn config(&self, name: &str, yaml: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, yaml.replace('@', &self.directory.path().display().to_string())).unwrap();
        path
    }

    /// A configuration that trains on `train.h5` and validates on `val.h5`, with
    /// augmentation.
    pub fn training(&self) -> PathBuf {
        self.config("train.yaml", TRAIN)
    }

    /// A configuration that predicts `test/` with the last checkpoint of `run/`.
    pub fn prediction(&self) -> PathBuf {
        self.config("predict.yaml", PREDICT)
    }
}

pub fn balls(size: [usize; 3], seed: u64) -> (Array3<f32>, Array3<f32>) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let centres: Vec<[f32; 4]> = (0..12)
        .map(|_| {
            let place = size.map(|length| random() * length as f32);
            [place[0], place[1], place[2], 3.0 + 3.0 * random()]
        })
        .collect();
    let label = Array3::from_shape_fn(size, |(z, y, x)| {
        let inside = centres.iter().any(|[cz, cy, cx, radius]| {
            let d = [z as f32 - cz, y as f32 - cy, x as f32 - cx];
            d.iter().map(|d| d * d).sum::<f32>() < radius * radius
        });
        f32::from(u8::from(inside))
    });
    let raw = label.mapv(|label| 100.0 + 60.0 * label + 40.0 * random());
    (raw, label)
}

/// A volume (C, D, H, W) of pseudo-random numbers.
pub fn noise(shape: [usize; 4], seed: u64) -> Array4<f32> {
    let (raw, _) = balls([shape[0] * shape[1], shape[2], shape[3]], seed);
    raw.into_shape_with_order(shape).unwrap()
}

/// A volume as AutoCellLabeler's are: channels, one-hot labels, weights by cell.
pub fn labelled_cells(path: &Path, size: [usize; 3], channels: usize, classes: usize, seed: u64) {
    let [d, h, w] = size;
    let raw = noise([channels, d, h, w], seed);
    let (_, balls) = balls(size, seed);
    let mut label = Array4::<u8>::zeros((classes, d, h, w));
    let mut weight = Array4::<i32>::ones((classes, d, h, w));
    for ((z, y, x), inside) in balls.indexed_iter() {
        let class = if *inside > 0.0 { 1 + (z / 3 + y / 9) % (classes - 1) } else { 0 };
        label[[class, z, y, x]] = 1;
        weight.slice_mut(s![.., z, y, x]).fill(1 + class as i32 % 7);
    }
    let file = File::create(path).unwrap();
    file.new_dataset_builder().with_data(&raw).create("raw").unwrap();
    file.new_dataset_builder().with_data(&label).create("label").unwrap();
    file.new_dataset_builder().with_data(&weight).create("weight").unwrap();
}

pub fn read(path: &Path, dataset: &str) -> ArrayD<f32> {
    File::open(path).unwrap().dataset(dataset).unwrap().read_dyn().unwrap()
}

const TRAIN: &str = "
manual_seed: 3
model: {name: UNet3D, in_channels: 1, out_channels: 2, f_maps: [4, 8], num_groups: 2, final_sigmoid: false}
trainer:
  checkpoint_dir: '@/run'
  validate_after_iters: 5
  log_after_iters: 4
  epochs: 1000
  iters: 10
optimizer: {learning_rate: 0.01, weight_decay: 0.0001}
loss: {name: PixelWiseCrossEntropyLoss}
eval_metric: {name: PixelWiseMeanIoU}
lr_scheduler: {name: ReduceLROnPlateau, mode: max, patience: 0, factor: 0.5}
loaders:
  batch_size: 2
  num_workers: 2
  weight_internal_path: weight
  train:
    file_paths: ['@/train.h5']
    slice_builder: {name: SliceBuilder, patch_shape: [8, 16, 16], stride_shape: [8, 16, 16], skip_shape_check: true}
    transformer:
      raw:
        - {name: Normalize}
        - {name: RandomFlip}
        - {name: RandomRotate90, force_180: true}
        - {name: RandomContrast, execution_probability: 0.5}
        - {name: AdditiveGaussianNoise, execution_probability: 1.0, scale: [0.0, 0.1]}
        - {name: ToTensor, expand_dims: true}
      label: &flips
        - {name: RandomFlip}
        - {name: RandomRotate90, force_180: true}
        - {name: ToTensor, expand_dims: false, dtype: long}
      weight: *flips
  val:
    file_paths: ['@/val.h5']
    slice_builder: {name: SliceBuilder, patch_shape: [8, 16, 16], stride_shape: [8, 16, 16], skip_shape_check: true}
    transformer:
      raw: [{name: Normalize}, {name: ToTensor, expand_dims: true}]
      label: [{name: ToTensor, expand_dims: false, dtype: long}]
      weight: [{name: ToTensor, expand_dims: false, dtype: long}]
";

const PREDICT: &str = "
model_path: '@/run/last_checkpoint.pytorch'
model: {name: UNet3D, in_channels: 1, out_channels: 2, f_maps: [4, 8], num_groups: 2, final_sigmoid: false}
predictor: {name: StandardPredictor, patch_halo: [1, 2, 2]}
loaders:
  raw_internal_path: raw
  mirror_padding: [2, 4, 4]
  test:
    file_paths: ['@/test']
    slice_builder: {name: SliceBuilder, patch_shape: [8, 16, 16], stride_shape: [5, 9, 11], skip_shape_check: true}
    transformer:
      raw: [{name: Normalize}, {name: ToTensor, expand_dims: true}]
";
