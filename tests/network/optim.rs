//! Schedulers and optimizers against torch's (tests/fixtures/make_optim.py).

use crate::support::{fixture, tensor, tree};
use hdf5::File;
use hdf5::types::VarLenUnicode;
use tch::{Device, Kind, Tensor};
use unet3d::config::Tree;
use unet3d::model::{NetworkSpec, UNet};
use unet3d::optim::{Optimizer, OptimizerSpec, Scheduler};

fn text(group: &hdf5::Group, name: &str) -> String {
    group.attr(name).unwrap().read_scalar::<VarLenUnicode>().unwrap().to_string()
}

fn optimizer_spec(algorithm: &str) -> OptimizerSpec {
    let yaml =
        format!("{{algorithm: {algorithm}, learning_rate: 0.1, weight_decay: 0, momentum: 0.9}}");
    OptimizerSpec::read(&tree(&yaml).root).unwrap()
}

#[test]
fn schedulers_follow_torch_step_by_step() {
    let file = File::open(fixture("optim/schedulers.h5")).unwrap();
    let scores: Vec<f64> = file.dataset("scores").unwrap().read_raw().unwrap();
    let mut seen = 0;
    for name in file.member_names().unwrap().iter().filter(|name| *name != "scores") {
        let group = file.group(name).unwrap();
        let settings = text(&group, "settings");
        let mut spec = optimizer_spec(&text(&group, "algorithm"));
        let tree = tree(&settings);
        let mut scheduler = Scheduler::read(Some(&tree.root), &mut spec).unwrap();
        let rates: Vec<f64> = group.dataset("rates").unwrap().read_raw().unwrap();
        let momenta: Vec<f64> = group.dataset("momenta").unwrap().read_raw().unwrap();
        for step in 0..rates.len() {
            if step > 0 {
                scheduler.step(scores[step - 1], &mut spec.rates);
            }
            let error = (spec.rates.learning_rate - rates[step]).abs();
            assert!(
                error <= 1e-12,
                "{settings} step {step}: {} {}",
                spec.rates.learning_rate,
                rates[step]
            );
            assert!(
                (spec.rates.momentum.unwrap() - momenta[step]).abs() <= 1e-12,
                "{settings} step {step}"
            );
        }
        seen += 1;
    }
    assert_eq!(seen, 30);
}

#[test]
fn without_a_section_the_rate_halves_after_twenty_one_bad_validations() {
    let mut spec = optimizer_spec("Adam");
    let mut scheduler = Scheduler::read(None, &mut spec).unwrap();
    let mut cut_at = Vec::new();
    for step in 1..=50 {
        let before = spec.rates.learning_rate;
        scheduler.step(0.5, &mut spec.rates);
        if spec.rates.learning_rate != before {
            assert_eq!(spec.rates.learning_rate, before * 0.5);
            cut_at.push(step);
        }
    }
    assert_eq!(cut_at, [22, 43]);
}

#[test]
fn losses_follow_torch_for_twenty_iterations_in_float64() {
    let file = File::open(fixture("optim/curves.h5")).unwrap();
    let (input, target) = (tensor(&file, "input"), tensor(&file, "target"));
    let state = file.group("state").unwrap();
    let yaml = "{name: UNet3D, in_channels: 1, out_channels: 3, f_maps: [4, 8], num_groups: 2}";
    let spec = NetworkSpec::read(&tree(yaml).root).unwrap();
    for (name, optimizer) in [
        ("adam", "{learning_rate: 0.01, weight_decay: 0.001}"),
        (
            "adam_betas",
            "{algorithm: Adam, learning_rate: 0.003, weight_decay: 0, betas: [0.8, 0.95]}",
        ),
        ("sgd", "{algorithm: SGD, learning_rate: 0.05, weight_decay: 0.01, momentum: 0.9}"),
        ("sgd_plain", "{algorithm: SGD, learning_rate: 0.1, weight_decay: 0, momentum: 0}"),
    ] {
        let net = UNet::new(&spec, Kind::Double, Device::Cpu).unwrap();
        let values: Vec<_> = state
            .member_names()
            .unwrap()
            .into_iter()
            .map(|n| (n.clone(), tensor(&state, &n)))
            .collect();
        net.load_state_dict(&values).unwrap();
        let parameters: Vec<Tensor> = net.parameters().into_iter().map(|p| p.tensor).collect();
        let mut optimizer =
            Optimizer::new(OptimizerSpec::read(&tree(optimizer).root).unwrap(), parameters)
                .unwrap();
        let expected: Vec<f64> = file.dataset(&format!("loss/{name}")).unwrap().read_raw().unwrap();
        for (iteration, expected) in expected.iter().enumerate() {
            let logits = net.forward(&input.get(iteration as i64), true).unwrap();
            let loss = logits.cross_entropy_for_logits_5d(&target.get(iteration as i64));
            let value = loss.double_value(&[]);
            assert!((value - expected).abs() <= 1e-9, "{name} {iteration}: {value} {expected}");
            let gradients = Tensor::run_backward(&[loss], optimizer.parameters(), false, false);
            optimizer.step(&gradients, None).unwrap();
        }
        assert_eq!(optimizer.step_count().unwrap(), 20);
    }
}

trait CrossEntropy {
    fn cross_entropy_for_logits_5d(&self, target: &Tensor) -> Tensor;
}

impl CrossEntropy for Tensor {
    fn cross_entropy_for_logits_5d(&self, target: &Tensor) -> Tensor {
        self.cross_entropy_loss(target, None::<Tensor>, tch::Reduction::Mean, -100, 0.0)
    }
}

#[test]
fn a_skipped_step_changes_nothing() {
    for algorithm in ["Adam", "SGD"] {
        let parameter = Tensor::ones([3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let mut optimizer =
            Optimizer::new(optimizer_spec(algorithm), vec![parameter.shallow_clone()]).unwrap();
        let gradient = [Tensor::from_slice(&[f32::NAN, 1.0, 2.0])];
        let one = Tensor::from(1.0f32);
        optimizer.step(&gradient, Some(&one)).unwrap();
        assert_eq!(Vec::<f32>::try_from(&parameter).unwrap(), [1.0; 3], "{algorithm}");
        assert_eq!(optimizer.step_count().unwrap(), 0);
        let zero = Tensor::from(0.0f32);
        optimizer.step(&[Tensor::from_slice(&[1.0f32, 1.0, 1.0])], Some(&zero)).unwrap();
        assert_eq!(optimizer.step_count().unwrap(), 1);
        let moved = Vec::<f32>::try_from(&parameter).unwrap();
        assert!(moved.iter().all(|value| (value - 0.9).abs() < 1e-5), "{algorithm} {moved:?}");
    }
}

#[test]
fn impossible_settings_are_refused_with_a_cure() {
    let scheduler = |yaml: &str| {
        let tree = Tree::parse(yaml, "test.yaml", &[]).unwrap();
        Scheduler::read(Some(&tree.root), &mut optimizer_spec("Adam")).unwrap_err().to_string()
    };
    for (yaml, words) in [
        ("{name: LambdaLR}", "Python functions"),
        ("{name: StepLr, step_size: 3}", "is `StepLR` meant?"),
        ("{name: StepLR}", "`step_size` is missing"),
        ("{name: StepLR, step_size: 0}", "at least 1"),
        ("{name: OneCycleLR, max_lr: 1}", "give total_steps"),
        ("{name: MultiStepLR, milestones: 3}", "a list of integers"),
        ("{gamma: 3}", "`name` is missing"),
    ] {
        let message = scheduler(yaml);
        assert!(message.contains(words), "{yaml}: {message}");
    }
    let optimizer = |yaml: &str| {
        let tree = Tree::parse(yaml, "test.yaml", &[]).unwrap();
        OptimizerSpec::read(&tree.root).unwrap_err().to_string()
    };
    for (yaml, words) in [
        ("{learning_rate: 0.1}", "`weight_decay` is missing"),
        ("{learning_rate: -1, weight_decay: 0}", "at least 0"),
        ("{algorithm: SGD, learning_rate: 1, weight_decay: 0}", "SGD needs a momentum"),
        ("{algorithm: RMSprop, learning_rate: 1, weight_decay: 0}", "there are Adam, SGD"),
        ("{learning_rate: 1, weight_decay: 0, betas: [0.9, 1.0]}", "below 1"),
    ] {
        let message = optimizer(yaml);
        assert!(message.contains(words), "{yaml}: {message}");
    }
}
