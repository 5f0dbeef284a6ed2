//! Learners of tests that train without the program.

use unet3d::checkpoint::Form;
use unet3d::config::Tree;
use unet3d::device::Precision;
use unet3d::model::NetworkSpec;
use unet3d::optim::{OptimizerSpec, Scheduler};
use unet3d::train::{LearnerSpec, StepSize};

/// A learner of the `model` and `optimizer` of a tree.
pub fn learner_spec(tree: &Tree, precision: Precision, step: StepSize) -> LearnerSpec {
    let node = |name: &str| tree.root.get(name).unwrap();
    let mut optimizer = OptimizerSpec::read(node("optimizer")).unwrap();
    LearnerSpec {
        network: NetworkSpec::read(node("model")).unwrap(),
        scheduler: Scheduler::read(None, &mut optimizer).unwrap(),
        optimizer,
        precision,
        memory_format: None,
        long: false,
        seed: Some(5),
        higher_is_better: true,
        form: Form::Fork,
        step,
    }
}
