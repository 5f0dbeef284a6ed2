//! Samples in compact forms: transforms and training give the same results as on the dense
//! volumes.

use crate::support::lab::{Lab, labelled_cells};
use crate::support::program::with_config;
use crate::support::tree;
use ndarray::Array4;
use unet3d::augment::Transformer;
use unet3d::augment::stream::SampleKey;
use unet3d::checkpoint::Checkpoint;
use unet3d::volume::{Element, OneHot, Palette, Sample, Statistics, Volume, Voxels};

const STATISTICS: Statistics = Statistics { min: 0.0, max: 1.0, mean: 0.5, std: 0.2 };
const SIZE: [usize; 3] = [9, 12, 14];

fn indices(count: usize) -> Array4<u16> {
    let [d, h, w] = SIZE;
    Array4::from_shape_fn((1, d, h, w), |(_, z, y, x)| {
        (((z / 2) * 7 + (y / 3) * 3 + x / 4 + z * y * x / 50) % count) as u16
    })
}

/// Nine classes; the tenth of the indices is a voxel without one.
fn one_hot() -> OneHot {
    let indices = indices(10).mapv(|index| if index == 9 { OneHot::NONE } else { index });
    OneHot { indices, classes: 9, element: Element::U8 }
}

/// Twelve columns of nine weights, none of them zeros.
fn palette<T: Copy>(number: impl Fn(i32) -> T) -> Palette
where
    unet3d::volume::Values: From<Array4<T>>,
{
    let table = Array4::from_shape_fn((1, 1, 12, 9), |(_, _, row, c)| {
        number((row * 31 + c * 17) as i32 % 40 - 7)
    });
    Palette { indices: indices(12), table: table.into() }
}

fn key(sample: u64) -> SampleKey {
    SampleKey { seed: 3, epoch: 1, sample }
}

/// Applies one list of transforms to a volume in its compact form and written out.
fn compare(steps: &str, volume: &Voxels, stays_compact: bool) {
    let yaml = format!("{{raw: [], label: {steps}, weight: {steps}}}");
    let recipe = Transformer::read(&tree(&yaml).root).unwrap();
    let raw = Volume::plain(Array4::<f32>::zeros((1, SIZE[0], SIZE[1], SIZE[2])));
    let mut changed = 0;
    for sample in 0..8 {
        let apply = |label: Voxels| {
            let sample_ = Sample { raw: raw.clone(), label: Some(label), weight: None };
            recipe.apply(sample_, key(sample), &STATISTICS).unwrap().label.unwrap()
        };
        let compact = apply(volume.clone());
        assert_eq!(!matches!(compact, Voxels::Dense(_)), stays_compact, "{steps}");
        let dense = apply(volume.clone().expand().into()).expand();
        assert_eq!(compact.shape(), dense.shape(), "{steps}");
        changed += u32::from(
            dense.clone().cast(Element::F64) != volume.clone().expand().cast(Element::F64),
        );
        assert_eq!(compact.expand(), dense, "{steps}, sample {sample}");
    }
    let keeps = steps.contains("Identity") || steps.contains("dtype: float64");
    assert!(changed > 0 || keeps, "{steps} did nothing");
}

const ITK: &str = "name: RandomITKDeformation, interpolator: nn, bspline_exec_prob: 1, \
    xy_rotate_exec_prob: 1, translate_exec_prob: 1, translate_x: 4, translate_y: 3, \
    translate_z: 2, bspline_sigma: 1";

#[test]
fn transforms_say_the_same_of_indices_and_of_volumes() {
    let volumes = || {
        [
            Voxels::OneHot(one_hot()),
            Voxels::Palette(palette(|n| n)),
            Voxels::Palette(palette(|n| n as f32 / 4.0)),
        ]
    };
    for volume in volumes() {
        for steps in [
            "[{name: RandomFlip}]",
            "[{name: RandomRotate90, axes: null}, {name: RandomFlip}]",
            "[{name: Identity}]",
            "[{name: ToTensor, expand_dims: false, dtype: float64}]",
            "[{name: RandomRotate, order: 0, angle_spectrum: 90, execution_probability: 1}]",
            "[{name: ElasticDeformation, spline_order: 0, alpha: 30, sigma: 3, \
              execution_probability: 1}]",
        ] {
            compare(steps, &volume, true);
        }
        compare(&format!("[{{{ITK}, cval: 0}}]"), &volume, true);
        compare(
            &format!(
                "[{{{ITK}, cval: 0}}, {{name: RandomRotate90, axes: null}}, \
                 {{name: RandomRotate, order: 0, mode: constant, cval: 0, \
                   execution_probability: 1}}, {{name: ToTensor, expand_dims: false, dtype: long}}]"
            ),
            &volume,
            true,
        );
        // What indices cannot say is done on the volume.
        compare(
            "[{name: ElasticDeformation, spline_order: 1, alpha: 30, sigma: 3, \
                   execution_probability: 1}]",
            &volume,
            false,
        );
        compare("[{name: RandomContrast, execution_probability: 1}]", &volume, false);
    }
    let [label, whole, fractions] = volumes();
    compare(&format!("[{{{ITK}, cval: 1}}]"), &label, false);
    compare(&format!("[{{{ITK}, cval: 2.75}}]"), &whole, true);
    compare(&format!("[{{{ITK}, cval: -3.5}}]"), &fractions, true);
    let constant = "[{name: RandomRotate, order: 0, mode: constant, cval: 2.75, \
                     angle_spectrum: 80, execution_probability: 1}]";
    compare(constant, &whole, true);
}

#[test]
fn a_full_table_takes_no_more_rows() {
    let mut palette = palette(|n| n);
    assert_eq!(palette.row_of(5.0), Some(12), "a new row");
    assert_eq!(palette.row_of(5.0), Some(12), "known by now");
    assert_eq!(palette.columns(), 13);
    let table = Array4::from_shape_fn((1, 1, Palette::LIMIT, 1), |(_, _, row, _)| row as i32);
    let mut full = Palette { indices: indices(2), table: table.into() };
    assert_eq!((full.row_of(17.0), full.row_of(-1.0)), (Some(17), None));
}

/// The same run on data held compactly and on data read as it is.
#[test]
fn a_run_on_compact_samples_is_the_run_on_the_volumes() {
    let lab = Lab::new();
    for (name, seed) in [("a.h5", 1), ("b.h5", 2), ("val.h5", 3)] {
        labelled_cells(&lab.path(name), [8, 16, 24], 2, 12, seed);
    }
    let config = lab.config("train.yaml", TRAIN);
    let mut runs = Vec::new();
    for dataset in ["StandardHDF5Dataset", "LazyHDF5Dataset"] {
        for (loss, metric, batch) in [
            ("PixelWiseCrossEntropyLoss", "PixelWiseMeanIoU", 2),
            ("CrossEntropyLoss", "MeanIoU", 1),
            ("DiceLoss", "DiceCoefficient", 2),
        ] {
            let directory = lab.path(&format!("{dataset}{loss}"));
            let run = with_config(
                "train",
                &config,
                &[
                    &format!("loaders.dataset={dataset}"),
                    &format!("loss.name={loss}"),
                    &format!("eval_metric.name={metric}"),
                    &format!("loaders.batch_size={batch}"),
                    // What CrossEntropyLoss takes labels with channels as.
                    "loaders.train.transformer.label.2.dtype=float32",
                    "loaders.val.transformer.label.0.dtype=float32",
                    &format!("trainer.checkpoint_dir={}", directory.display()),
                ],
            );
            run.succeeded();
            let checkpoint = Checkpoint::read(&directory.join("last_checkpoint.pytorch")).unwrap();
            runs.push((loss, checkpoint));
        }
    }
    let (compact, dense) = runs.split_at(3);
    for ((loss, compact), (_, dense)) in compact.iter().zip(dense) {
        assert_eq!(compact.num_iterations, 6);
        assert!(compact.best_eval_score > 0.0);
        let apart = (compact.best_eval_score - dense.best_eval_score).abs();
        assert!(apart < 1e-9, "{loss}: scores {apart} apart");
        for ((name, compact), (_, dense)) in compact.model_state.iter().zip(&dense.model_state) {
            let pairs = compact.to_f64().into_iter().zip(dense.to_f64());
            let apart = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(apart < 1e-9, "{loss}: {name} is {apart} apart");
        }
    }
}

const TRAIN: &str = "
manual_seed: 3
precision: fp64
model: {name: UNet3D, in_channels: 2, out_channels: 12, f_maps: [4, 8], num_groups: 2,
        final_sigmoid: false}
trainer: {iters: 6, validate_after_iters: 3, log_after_iters: 2, checkpoint_after_iters: 6}
optimizer: {algorithm: Adam, learning_rate: 0.001, weight_decay: 0}
loss: {name: PixelWiseCrossEntropyLoss}
eval_metric: {name: PixelWiseMeanIoU}
lr_scheduler: {name: ReduceLROnPlateau, mode: max}
loaders:
  raw_internal_path: raw
  label_internal_path: label
  weight_internal_path: weight
  train:
    file_paths: ['@/a.h5', '@/b.h5']
    slice_builder: {name: SliceBuilder, patch_shape: [8, 16, 16], stride_shape: [8, 16, 8],
                    skip_shape_check: true}
    transformer:
      raw:
        - {name: Normalize}
        - &itk {name: RandomITKDeformation, bspline_exec_prob: 0.5, xy_rotate_exec_prob: 0.5,
                translate_exec_prob: 1, translate_x: 5, translate_y: 4, translate_z: 2,
                bspline_sigma: 1}
        - {name: RandomRotate90, axes: null, force_180: true}
        - {name: ToTensor, expand_dims: true}
      label: &target
        - {name: RandomITKDeformation, bspline_exec_prob: 0.5, xy_rotate_exec_prob: 0.5,
           translate_exec_prob: 1, translate_x: 5, translate_y: 4, translate_z: 2,
           bspline_sigma: 1, interpolator: nn, cval: 0}
        - {name: RandomRotate90, axes: null, force_180: true}
        - {name: ToTensor, expand_dims: false, dtype: long}
      weight: *target
  val:
    file_paths: ['@/val.h5']
    slice_builder: {name: SliceBuilder, patch_shape: [8, 16, 24], stride_shape: [8, 16, 24],
                    skip_shape_check: true}
    transformer:
      raw: [{name: Normalize}, {name: ToTensor, expand_dims: true}]
      label: [{name: ToTensor, expand_dims: false, dtype: long}]
      weight: [{name: ToTensor, expand_dims: false, dtype: long}]
";
