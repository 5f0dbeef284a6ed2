//! Reading or writing a checkpoint keeps one copy of it in memory.

use unet3d::checkpoint::{Checkpoint, DType, Form, OptimizerState, TensorData, read_model_state};

use crate::support::peak::{Peak, alone};

#[test]
fn a_checkpoint_is_held_once() {
    let _alone = alone();
    const TENSORS: usize = 8;
    const BYTES: usize = 16 << 20;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.pytorch");
    let data = TensorData::new(DType::F32, vec![BYTES / 4], vec![7; BYTES]);
    let state = (0..TENSORS).map(|i| (format!("w{i}"), data.clone())).collect();
    drop(data);
    let checkpoint = Checkpoint {
        form: Form::Fork,
        epoch: 1,
        num_iterations: 1,
        model_state: state,
        best_eval_score: 0.0,
        eval_score_higher_is_better: true,
        optimizer: OptimizerState::default(),
        device: "cpu".into(),
        max_num_epochs: 1,
        max_num_iterations: 1,
        validate_after_iters: 1,
        log_after_iters: 1,
        h5_dir: String::new(),
        validate_iters: None,
        extra: vec![],
    };
    let memory = Peak::start();
    checkpoint.write(&path).unwrap();
    let grown = memory.grown();
    assert!(grown < 8 << 20, "writing took {grown} bytes beyond the checkpoint itself");

    let memory = Peak::start();
    let state = read_model_state(&path).unwrap();
    let grown = memory.grown();
    let total = (TENSORS * BYTES) as u64;
    assert_eq!(state.iter().map(|(_, data)| data.bytes.len() as u64).sum::<u64>(), total);
    assert!(grown < total + (8 << 20), "reading {total} bytes took {grown}");
}
