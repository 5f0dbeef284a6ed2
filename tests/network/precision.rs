//! `precision: bf16` in the program: a network learns, predictions are nearly the same, and
//! a run that is resumed with another precision gets a warning.

use std::fs;

use crate::support::lab::{Lab, read};
use crate::support::program::with_config;
use unet3d::checkpoint::{Checkpoint, DType};

#[test]
fn a_network_learns_and_predicts_in_bfloat16() {
    let lab = Lab::new();
    lab.balls("train.h5", [16, 32, 32], 1);
    lab.balls("val.h5", [16, 16, 32], 2);
    fs::create_dir(lab.path("test")).unwrap();
    lab.balls("test/a.h5", [12, 24, 24], 3);
    let half = "precision=bf16";
    with_config("train", &lab.training(), &[half, "trainer.iters=30"]).succeeded();

    let path = lab.path("run/last_checkpoint.pytorch");
    let checkpoint = Checkpoint::read(&path).unwrap();
    assert!(checkpoint.best_eval_score > 0.6, "it learned: {}", checkpoint.best_eval_score);
    for (name, tensor) in &checkpoint.model_state {
        assert_eq!(tensor.dtype, DType::F32, "{name}");
    }

    let output = lab.path("test/a_predictions.h5");
    let predict = |overrides: &[&str]| {
        with_config("predict", &lab.prediction(), overrides).succeeded();
        let result = read(&output, "predictions");
        fs::remove_file(&output).unwrap();
        result
    };
    let (single, half_) = (predict(&[]), predict(&[half]));
    let apart = single.iter().zip(&half_).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart > 1e-6, "it was computed in float32");
    assert!(apart < 0.05, "{apart} apart");

    let resume = format!("trainer.resume={}", path.display());
    let run = with_config("train", &lab.training(), &[&resume, "trainer.iters=31"]).succeeded();
    assert!(run.out.contains("will not be the same to the last bit"), "{}", run.out);
    assert!(run.out.contains("Bf16") && run.out.contains("Fp32"), "{}", run.out);
}
