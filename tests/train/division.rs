//! A step in several batches is that of one batch of as many samples.

use std::fs;
use std::path::{Path, PathBuf};

use unet3d::checkpoint::Checkpoint;

use crate::support::lab::Lab;
use crate::support::program::{Run, with_flags};

/// 8 patches to train on and 4 to validate on.
pub fn lab() -> Lab {
    let lab = Lab::new();
    lab.balls("train.h5", [16, 32, 32], 1);
    lab.balls("val.h5", [16, 16, 32], 2);
    lab
}

/// A configuration of float64 with another loss and metric than the lab's; `channels`: one
/// channel of the network and of the labels.
pub fn config(lab: &Lab, loss: &str, metric: &str, channels: bool) -> PathBuf {
    let text = fs::read_to_string(lab.training()).unwrap();
    let mut text = text
        .replace("{name: PixelWiseCrossEntropyLoss}", loss)
        .replace("{name: PixelWiseMeanIoU}", metric)
        .replace("manual_seed: 3", "manual_seed: 3\nprecision: fp64");
    if channels {
        text = text
            .replace("expand_dims: false, dtype: long", "expand_dims: true, dtype: float32")
            .replace("out_channels: 2", "out_channels: 1")
            .replace("final_sigmoid: false", "final_sigmoid: true")
            .replace("  weight_internal_path: weight\n", "")
            .replace("      weight: *flips\n", "")
            .replace("      weight: [{name: ToTensor, expand_dims: true, dtype: float32}]\n", "");
    }
    lab.config("train.yaml", &text)
}

pub fn run(config: &Path, place: &Path, flags: &[&str], keys: &[(&str, usize)]) -> Run {
    let mut overrides = vec![format!("trainer.checkpoint_dir={}", place.display())];
    overrides.extend(keys.iter().map(|(key, value)| format!("{key}={value}")));
    let overrides: Vec<_> = overrides.iter().map(String::as_str).collect();
    with_flags("train", config, flags, &overrides)
}

pub fn last(place: &Path) -> Checkpoint {
    Checkpoint::read(&place.join("last_checkpoint.pytorch")).unwrap()
}

/// The values of all tensors of the network.
fn weights(checkpoint: &Checkpoint) -> Vec<f64> {
    checkpoint.model_state.iter().flat_map(|(_, tensor)| tensor.to_f64()).collect()
}

/// Checks that two runs ended at the same place, but for rounding.
pub fn same(found: &Checkpoint, wanted: &Checkpoint, what: &str) {
    let (found_weights, wanted_weights) = (weights(found), weights(wanted));
    assert_eq!(found_weights.len(), wanted_weights.len());
    let pairs = found_weights.iter().zip(&wanted_weights);
    let off = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(off < 1e-9, "{what}: weights off by {off:e}");
    assert_eq!(found.num_iterations, wanted.num_iterations);
    assert_eq!(found.epoch, wanted.epoch);
    let off = (found.best_eval_score - wanted.best_eval_score).abs();
    assert!(off < 1e-9, "{what}: best score off by {off:e}");
}

const CLASSES: &[(&str, &str, bool)] = &[
    ("{name: PixelWiseCrossEntropyLoss}", "{name: PixelWiseMeanIoU}", false),
    ("{name: WeightedCrossEntropyLoss, ignore_index: 0}", "{name: MeanIoU}", false),
    ("{name: BCEDiceLoss}", "{name: DiceCoefficient}", true),
];

#[test]
fn accumulated_batches_are_one_batch() {
    for (index, (loss, metric, channels)) in CLASSES.iter().enumerate() {
        let lab = lab();
        let config = config(&lab, loss, metric, *channels);
        // The last step of an epoch has two samples, in one batch or two.
        let whole = lab.path("whole");
        run(&config, &whole, &[], &[("loaders.batch_size", 3)]).succeeded();
        let parts = lab.path("parts");
        let keys = [("loaders.batch_size", 1), ("trainer.accumulate", 3)];
        run(&config, &parts, &[], &keys).succeeded();
        same(&last(&parts), &last(&whole), loss);
        if index > 0 {
            continue;
        }
        // A resumed run goes on with steps of as many samples, however they are divided.
        let resume = ["--resume", "auto"];
        let more = ("trainer.iters", 14);
        run(&config, &whole, &resume, &[("loaders.batch_size", 3), more]).succeeded();
        let gone_on = run(&config, &parts, &resume, &[("loaders.batch_size", 3), more]).succeeded();
        assert!(gone_on.out.contains("to the last bit"), "{}", gone_on.out);
        same(&last(&parts), &last(&whole), "resumed");
        let words = ["`--processes`", "batch_size", "accumulate", "had 3 samples", "have 2"];
        run(&config, &parts, &resume, &[("loaders.batch_size", 2), more]).failed_with(2, &words);
    }
}
