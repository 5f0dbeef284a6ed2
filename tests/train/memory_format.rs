//! The order of feature maps in memory.

use unet3d::checkpoint::{Checkpoint, PickleValue};

use crate::division::{config, lab, last, run, same};
use crate::support::program::with_flags;

const LOSS: &str = "{name: PixelWiseCrossEntropyLoss}";
const METRIC: &str = "{name: PixelWiseMeanIoU}";

/// The order that a checkpoint has noted.
fn noted(checkpoint: &Checkpoint) -> String {
    let run = checkpoint.extra("run").unwrap();
    run.get("layout").and_then(PickleValue::as_str).unwrap().to_string()
}

#[test]
fn the_key_decides_and_the_checkpoint_keeps_it() {
    let lab = lab();
    let config = config(&lab, LOSS, METRIC, false);
    let iterations = [("trainer.iters", 3), ("trainer.validate_after_iters", 3)];
    let mut checkpoints = Vec::new();
    for format in ["channels_first", "channels_last"] {
        let place = lab.path(format);
        let overrides = [
            format!("trainer.checkpoint_dir={}", place.display()),
            format!("memory_format={format}"),
            "trainer.iters=3".to_string(),
            "trainer.validate_after_iters=3".to_string(),
        ];
        let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
        let done = with_flags("train", &config, &["-v"], &overrides).succeeded();
        let line = format!("memory format {format}: `memory_format`");
        assert!((done.out.clone() + &done.err).contains(&line), "{}\n{}", done.out, done.err);
        let checkpoint = last(&place);
        assert_eq!(noted(&checkpoint), format);
        checkpoints.push(checkpoint);

        // Whatever the processor, the run goes on in the order it was begun in.
        let more = [("trainer.iters", 5), ("trainer.validate_after_iters", 5)];
        run(&config, &place, &["--resume", "auto"], &more).succeeded();
        let gone_on = last(&place);
        assert_eq!(noted(&gone_on), format);

        // And in another one if that is asked for, with the same numbers but for rounding.
        let other = lab.path(&format!("{format} not interrupted"));
        let all = [("trainer.iters", 5), ("trainer.validate_after_iters", 5)];
        run(&config, &other, &[], &all).succeeded();
        same(&gone_on, &last(&other), format);
    }
    same(&checkpoints[0], &checkpoints[1], "the other order");
    let place = lab.path("own choice");
    run(&config, &place, &[], &iterations).succeeded();
    same(&last(&place), &checkpoints[0], "the order of this processor");
    assert!(["channels_first", "channels_last"].contains(&&*noted(&last(&place))));
}

#[test]
fn predictions_differ_by_rounding_alone() {
    let lab = lab();
    let config = config(&lab, LOSS, METRIC, false);
    run(&config, &lab.path("run"), &[], &[("trainer.iters", 1)]).succeeded();
    let mut results = Vec::new();
    for format in ["channels_first", "channels_last"] {
        let output = lab.path(format);
        let flags = [
            "--checkpoint",
            &lab.path("run/last_checkpoint.pytorch").display().to_string(),
            &lab.path("val.h5").display().to_string(),
            "--output",
            &output.display().to_string(),
            "--set",
            &format!("memory_format={format}"),
        ]
        .map(str::to_string);
        crate::support::program::unet3d(["predict".to_string()].into_iter().chain(flags))
            .succeeded();
        results.push(crate::support::lab::read(&output.join("val_predictions.h5"), "predictions"));
    }
    let off = (&results[0] - &results[1]).iter().fold(0.0f32, |most, off| most.max(off.abs()));
    assert!(off < 1e-6, "{off}");
}

#[test]
fn other_words_are_refused() {
    let lab = lab();
    let config = config(&lab, LOSS, METRIC, false);
    with_flags("check", &config, &["--no-data"], &["memory_format=nhwc"])
        .failed_with(2, &["`memory_format`", "channels_first", "channels_last"]);
}
