//! `unet3d check` looks at values: typical mistakes are told with a cure, sound
//! configurations pass without a word.

use std::fs;
use std::path::PathBuf;

use hdf5::File;
use ndarray::{Array3, ArrayD};

use crate::support::lab::{Lab, balls};
use crate::support::program::{Run, with_config, with_flags};

const CONFIG: &str = "
manual_seed: 3
model: {name: UNet3D, in_channels: 1, out_channels: 2, f_maps: [4, 8], num_groups: 2, final_sigmoid: false}
trainer: {checkpoint_dir: '@/run', validate_after_iters: 5, iters: 10, eval_score_higher_is_better: true}
optimizer: {learning_rate: 0.001, weight_decay: 0.0001}
loss: {name: CrossEntropyLoss}
eval_metric: {name: MeanIoU}
lr_scheduler: {name: ReduceLROnPlateau, mode: max}
loaders:
  train: &phase
    file_paths: ['@/train.h5']
    slice_builder: {name: SliceBuilder, patch_shape: [8, 16, 16], stride_shape: [8, 16, 16], skip_shape_check: true}
    transformer:
      raw: [{name: Standardize}, {name: RandomFlip}, {name: ToTensor, expand_dims: true}]
      label: [{name: RandomFlip}, {name: ToTensor, expand_dims: false, dtype: int64}]
  val:
    <<: *phase
    file_paths: ['@/val.h5']
    transformer:
      raw: [{name: Standardize}, {name: ToTensor, expand_dims: true}]
      label: [{name: ToTensor, expand_dims: false, dtype: int64}]
";

const RAW: &str = "transformer.raw=[{name: ToTensor, expand_dims: true}]";
const FLIPPED: &str = "transformer.raw=[{name: RandomFlip}, {name: ToTensor, expand_dims: true}]";

fn lab() -> (Lab, PathBuf) {
    let lab = Lab::new();
    lab.balls("train.h5", [8, 16, 32], 1);
    lab.balls("val.h5", [8, 16, 16], 2);
    let config = lab.config("train.yaml", CONFIG);
    (lab, config)
}

/// A volume whose labels number objects: 40 blocks.
fn objects(lab: &Lab, name: &str, seed: u64) -> String {
    let (raw, _) = balls([8, 16, 32], seed);
    let label = Array3::from_shape_fn((8, 16, 32), |(z, y, x)| {
        if z % 4 == 3 { 0 } else { (1 + z / 4 * 20 + y / 4 * 5 + x / 7) as u8 }
    });
    let file = File::create(lab.path(name)).unwrap();
    file.new_dataset_builder().with_data(&raw).create("raw").unwrap();
    file.new_dataset_builder().with_data(&label).create("label").unwrap();
    lab.path(name).display().to_string()
}

fn warned(run: Run, words: &[&str]) {
    let run = run.succeeded();
    let lines: Vec<_> = run.out.lines().filter(|line| line.contains("WARN")).collect();
    assert!(
        lines.iter().any(|line| words.iter().all(|word| line.contains(word))),
        "{words:?} are not in: {}",
        run.out
    );
}

#[test]
fn mistakes_in_settings_are_told_with_a_cure() {
    let (lab, config) = lab();
    let check = |options: &[&str]| with_config("check", &config, options);
    for (options, words) in [
        (
            &["optimizer.learning_rate=0"][..],
            &["learning_rate", "nothing can be learned", "0.0002"][..],
        ),
        (&["optimizer.learning_rate=1e-12"], &["learning_rate", "nothing can be learned"]),
        (&["optimizer.learning_rate=10"], &["learning_rate", "0.0002 is usual"]),
        (
            &["optimizer={algorithm: SGD, learning_rate: 10, weight_decay: 0, momentum: 0.9}"],
            &["learning_rate", "0.01 is usual"],
        ),
        (
            &["trainer.eval_score_higher_is_better=false"],
            &["eval_score_higher_is_better", "MeanIoU", "set it to true"],
        ),
        (&["lr_scheduler.mode=min"], &["lr_scheduler.mode", "MeanIoU", "set `mode: max`"]),
        // Without the key, torch's default holds.
        (&["lr_scheduler={name: ReduceLROnPlateau}"], &["lr_scheduler", "set `mode: max`"]),
        (&["trainer.itters=3"], &["trainer.itters", "`iters`"]),
        (
            &[
                "loaders.train.transformer.label=[{name: ToTensor, expand_dims: false, dtype: int64}]",
            ],
            &["RandomFlip", "same geometry"],
        ),
        (
            &[&format!("loaders.val.{RAW}")],
            &["training with Standardize, validating without", "both phases"],
        ),
        (
            &[&format!("loaders.train.{FLIPPED}"), &format!("loaders.val.{RAW}")],
            &["loaders.train.transformer.raw", "values of mean", "Standardize"],
        ),
    ] {
        warned(check(options), words);
    }
    check(&["model.f_maps=[4, 1000000]"]).failed_with(1, &["memory", "`model.f_maps`"]);
    check(&["loaders.val.file_paths=['@/train.h5']"
        .replace('@', &lab.path("").display().to_string())
        .as_str()])
    .failed_with(2, &["loaders.val.file_paths", "also among the training files"]);
    check(&["trainer.checkpoint_dir=/proc/run"]).failed_with(1, &["/proc/run"]);
    with_flags("check", &config, &["--device", "gpu"], &[]).failed_with(2, &["gpu", "cuda"]);
}

#[test]
fn mistakes_in_data_are_told_with_a_cure() {
    let (lab, config) = lab();
    let check = |options: &[&str]| with_config("check", &config, options);
    let swap = ["loaders.raw_internal_path=label", "loaders.label_internal_path=raw"];
    let run = check(&swap);
    assert_ne!(run.code, Some(0), "{}", run.out);
    assert!(run.out.contains("look swapped") && run.out.contains("train.h5"), "{}", run.out);

    let (many, more) = (objects(&lab, "many.h5", 1), objects(&lab, "more.h5", 2));
    let paths = [
        format!("loaders.train.file_paths=['{many}']"),
        format!("loaders.val.file_paths=['{more}']"),
    ];
    let [train, val] = paths.each_ref().map(String::as_str);
    check(&[train, val]).failed_with(
        1,
        &[
            "many.h5",
            "labels go up to 40 (41 different ones)",
            "out_channels: 41",
            "make-training-data --instances",
        ],
    );
    // As many classes as objects: that is what was asked for.
    check(&[train, val, "model.out_channels=41"]).succeeded();
    let label = "transformer.label=[{name: ToTensor, expand_dims: true, dtype: float32}]";
    let (labels, others) = (
        format!("loaders.train.{}", label.replace('[', "[{name: RandomFlip}, ")),
        format!("loaders.val.{label}"),
    );
    let dice = [
        train,
        val,
        &labels,
        &others,
        "loss={name: DiceLoss}",
        "eval_metric={name: DiceCoefficient}",
        "model.out_channels=1",
        "model.final_sigmoid=true",
    ];
    warned(
        check(&dice),
        &["loaders.train.transformer.label", "DiceLoss", "0 to 40", "StandardLabelToBoundary"],
    );

    warned(
        check(&["model.out_channels=5"]),
        &["model.out_channels", "no label is above 1", "set it to 2"],
    );
    // One voxel of a third class.
    let file = File::open_rw(lab.path("val.h5")).unwrap();
    let dataset = file.dataset("label").unwrap();
    let mut labels: ArrayD<u8> = dataset.read_dyn().unwrap();
    labels[[0, 0, 0]] = 2;
    dataset.write(&labels).unwrap();
    drop((dataset, file));
    check(&[]).failed_with(1, &["val.h5", "labels go up to 2", "model.out_channels: 3"]);

    fs::copy(lab.path("train.h5"), lab.path("copy.h5")).unwrap();
    let copy = format!("loaders.val.file_paths=['{}']", lab.path("copy.h5").display());
    warned(check(&[&copy]), &["copy.h5", "same image as", "train.h5"]);
}

#[test]
fn what_is_seen_is_told() {
    let (_lab, config) = lab();
    let said = with_flags("check", &config, &["--time"], &[]).succeeded().out;
    assert!(!said.contains("WARN"), "{said}");
    for words in [
        "train.h5: raw float32 [8, 16, 32], 100",
        "label uint8: ",
        "val patches after the transforms: raw -",
        ", labels 0 to 1",
        "an iteration, 10 iterations, 2 validations of",
    ] {
        assert!(said.contains(words), "'{words}' is not in: {said}");
    }
    assert!(!said.contains("run/last_checkpoint"), "nothing is written");
}

/// Configurations that a user may well write, none of which deserves a warning.
#[test]
fn sound_configurations_pass_without_a_word() {
    let (lab, config) = lab();
    let mut sound: Vec<Vec<String>> = Vec::new();
    let mut add = |options: &[&str]| sound.push(options.iter().map(|s| s.to_string()).collect());
    for rate in ["0.00001", "0.0001", "0.0002", "0.0005", "0.002", "0.01", "0.05"] {
        add(&[&format!("optimizer={{algorithm: Adam, learning_rate: {rate}, weight_decay: 0}}")]);
    }
    add(&["optimizer={algorithm: SGD, learning_rate: 0.01, weight_decay: 0, momentum: 0.99}"]);
    add(&["optimizer={algorithm: SGD, learning_rate: 0.1, weight_decay: 0, momentum: 0}"]);
    add(&["optimizer.learning_rate=0.1"]);
    add(&["optimizer.learning_rate=0.000002"]);
    for scheduler in [
        "{name: MultiStepLR, milestones: [5, 8]}",
        "{name: CosineAnnealingLR, T_max: 10}",
        "{name: PolynomialLR, total_iters: 10, power: 0.9}",
        "{name: ReduceLROnPlateau, mode: max, patience: 3}",
        "null",
    ] {
        add(&[&format!("lr_scheduler={scheduler}")]);
    }
    for normalization in [
        "{name: Normalize}",
        "{name: Normalize, min_value: 100, max_value: 200}",
        "{name: Standardize, mean: 120, std: 30}",
    ] {
        let list =
            |flip: &str| format!("[{normalization}, {flip}{{name: ToTensor, expand_dims: true}}]");
        add(&[
            &format!("loaders.train.transformer.raw={}", list("{name: RandomFlip}, ")),
            &format!("loaders.val.transformer.raw={}", list("")),
        ]);
    }
    let error = "trainer.eval_score_higher_is_better=false";
    add(&[
        error,
        "eval_metric={name: AdaptedRandError}",
        "lr_scheduler={name: ReduceLROnPlateau, mode: min}",
    ]);
    add(&["loss={name: CrossEntropyLoss, ignore_index: 0}", "eval_metric.ignore_index=0"]);
    add(&["loss={name: WeightedCrossEntropyLoss}"]);
    add(&[
        "loaders.weight_internal_path=weight",
        "loaders.train.transformer.weight=[{name: RandomFlip}, {name: ToTensor, expand_dims: false}]",
        "loaders.val.transformer.weight=[{name: ToTensor, expand_dims: false}]",
        "loss={name: PixelWiseCrossEntropyLoss}",
    ]);
    add(&["loaders.dataset=LazyHDF5Dataset"]);
    add(&["loaders.batch_size=2", "loaders.num_workers=2"]);
    add(&["trainer.validate_iters=1"]);
    add(&["class_names=[background, ball]"]);
    add(&["model.layer_order=cr"]);
    let one =
        ["model.out_channels=1", "model.final_sigmoid=true", "eval_metric={name: DiceCoefficient}"];
    let dense = |phase: &str, flip: &str| {
        format!(
            "loaders.{phase}.transformer.label=[{flip}{{name: ToTensor, expand_dims: true, dtype: float32}}]"
        )
    };
    let dense = [dense("train", "{name: RandomFlip}, "), dense("val", "")];
    for loss in ["DiceLoss", "BCEDiceLoss", "BCEWithLogitsLoss"] {
        add(&[&one[..], &[&dense[0], &dense[1], &format!("loss={{name: {loss}}}")]].concat());
    }
    assert!(sound.len() >= 30, "{}", sound.len());
    for options in &sound {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let run = with_config("check", &config, &options).succeeded();
        assert!(!run.out.contains("WARN"), "{options:?}: {}", run.out);
    }
    drop(lab);
}
