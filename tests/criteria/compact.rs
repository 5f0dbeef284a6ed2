//! Compact labels and weights against the dense arrays that they stand for, and
//! the float32 kernels against the same formulas in float64.

use tch::{Device, Kind, Tensor};
use unet3d::config::Tree;
use unet3d::loss::{self, Loss};
use unet3d::metric;
use unet3d::target::{Labels, NO_CLASS, Weights};

use crate::cases::{difference, seeded};

const SIZE: [i64; 5] = [2, 6, 3, 9, 11];
const INTEGERS: (Kind, Device) = (Kind::Int64, Device::Cpu);

fn criterion(section: &str) -> Loss {
    let tree = Tree::parse(&format!("loss: {{{section}}}"), "here", &[]).unwrap();
    loss::read(tree.root.get("loss").unwrap()).unwrap()
}

/// Labels of which a third is no class, and weights with a few distinct columns.
fn batch([n, c, d, h, w]: [i64; 5]) -> (Labels, Weights) {
    let index = Tensor::randint_low(-2, c, [n, d, h, w], INTEGERS).clamp_min(NO_CLASS);
    let rows = Tensor::randint(7, [n, d, h, w], INTEGERS);
    let table = Tensor::randint(50, [7, c], INTEGERS);
    (Labels::OneHot { index, channels: c }, Weights::Palette { index: rows, table })
}

/// Value and gradient of a loss.
fn differentiate(
    logits: &Tensor,
    loss: impl Fn(&Tensor) -> anyhow::Result<Tensor>,
) -> (Tensor, Tensor) {
    let logits = logits.detach().set_requires_grad(true);
    let value = loss(&logits).unwrap();
    value.backward();
    (value.detach(), logits.grad())
}

#[test]
fn losses_are_those_of_the_dense_arrays() {
    let _numbers = seeded(1);
    for section in [
        "name: PixelWiseCrossEntropyLoss",
        "name: PixelWiseCrossEntropyLoss, weight: [1, 0.5, 2, 3, 0, 1]",
        "name: PixelWiseCrossEntropyLoss, ignore_index: 0",
        "name: PixelWiseCrossEntropyLoss, ignore_index: 1",
        "name: PixelWiseCrossEntropyLoss, ignore_index: 255",
        "name: CrossEntropyLoss",
        "name: CrossEntropyLoss, weight: [1, 0.5, 2, 3, 0, 1]",
        "name: DiceLoss",
        "name: DiceLoss, sigmoid_normalization: false, weight: [1, 0.5, 2, 3, 0, 1]",
        "name: DiceLoss, ignore_index: 0",
        "name: DiceLoss, ignore_index: -1",
        "name: GeneralizedDiceLoss",
        "name: BCEDiceLoss",
        "name: MSELoss",
    ] {
        let loss = criterion(section);
        for (kind, tolerance) in [(Kind::Double, 1e-10), (Kind::Float, 1e-5)] {
            let (labels, weights) = batch(SIZE);
            let logits = Tensor::randn(SIZE, (kind, Device::Cpu)) * 3.0;
            let target = Labels::Dense(labels.dense(kind).unwrap());
            let weight = Weights::Dense(weights.dense().unwrap());
            let (value, gradient) =
                differentiate(&logits, |x| loss.forward(x, &labels, Some(&weights)));
            let (wanted, wanted_gradient) =
                differentiate(&logits, |x| loss.forward(x, &target, Some(&weight)));
            let off = difference(&value, &wanted);
            assert!(off <= tolerance, "{section} in {kind:?}: value off by {off:e}");
            let off = difference(&gradient, &wanted_gradient);
            assert!(off <= tolerance, "{section} in {kind:?}: gradient off by {off:e}");
        }
    }
}

#[test]
fn metrics_are_those_of_the_dense_arrays() {
    let _numbers = seeded(2);
    for section in [
        "name: MeanIoU",
        "name: MeanIoU, skip_channels: [0]",
        "name: MeanIoU, ignore_index: 0",
        "name: MeanIoU, ignore_index: 1",
        "name: MeanIoU, ignore_index: 2",
        "name: PixelWiseMeanIoU",
        "name: PixelWiseMeanIoU, ignore_index: 0",
        "name: PixelWiseMeanIoU, weight_equal: true",
        "name: DiceCoefficient",
        "name: MSE",
    ] {
        let tree = Tree::parse(&format!("eval_metric: {{{section}}}"), "here", &[]).unwrap();
        let metric = metric::read(&tree.root).unwrap();
        let (labels, weights) = batch(SIZE);
        let probabilities =
            Tensor::randn(SIZE, (Kind::Double, Device::Cpu)).softmax(1, Kind::Double);
        let target = Labels::Dense(labels.dense(Kind::Int64).unwrap());
        let weight = Weights::Dense(weights.dense().unwrap());
        let found = metric.score(&probabilities, &labels, Some(&weights)).unwrap().unwrap();
        let wanted = metric.score(&probabilities, &target, Some(&weight)).unwrap().unwrap();
        assert!((found - wanted).abs() < 1e-12, "{section}: {found} instead of {wanted}");
    }
}

#[test]
fn channels_beside_the_network_are_skipped() {
    let _numbers = seeded(4);
    let loss = criterion("name: DiceLoss, skip_last_target: true");
    let labels =
        Labels::OneHot { index: Tensor::randint_low(-1, 4, [1, 3, 4, 5], INTEGERS), channels: 4 };
    let logits = Tensor::randn([1, 3, 3, 4, 5], (Kind::Double, Device::Cpu));
    let wanted =
        loss.forward(&logits, &Labels::Dense(labels.dense(Kind::Double).unwrap()), None).unwrap();
    let found = loss.forward(&logits, &labels, None).unwrap();
    assert!(difference(&found, &wanted) < 1e-12);
}

/// Sizes around those of the kernel's blocks, in both memory layouts.
#[test]
fn the_kernel_computes_what_float64_does() {
    let _numbers = seeded(3);
    let loss = criterion("name: PixelWiseCrossEntropyLoss, ignore_index: -1");
    for size in [[1, 2, 1, 1, 1], [3, 3, 5, 7, 13], [1, 5, 1, 16, 16], [2, 4, 3, 70, 81]] {
        let [n, c, d, h, w] = size;
        let logits = Tensor::randn(size, (Kind::Float, Device::Cpu)) * 3.0;
        let labels = Labels::Dense(Tensor::randint_low(-1, c, [n, d, h, w], INTEGERS));
        let weight = Tensor::rand([n, d, h, w], (Kind::Float, Device::Cpu));
        let double = Weights::Dense(weight.to_kind(Kind::Double));
        let weights = Weights::Dense(weight);
        let (wanted, wanted_gradient) = differentiate(&logits.to_kind(Kind::Double), |x| {
            loss.forward(x, &labels, Some(&double))
        });
        let last = logits.permute([0, 2, 3, 4, 1]).contiguous().permute([0, 4, 1, 2, 3]);
        let sliced = Tensor::cat(&[&logits, &logits], 4).narrow(4, 0, w);
        for (name, logits) in [("first", &logits), ("last", &last), ("neither", &sliced)] {
            let (value, gradient) =
                differentiate(logits, |x| loss.forward(x, &labels, Some(&weights)));
            let off = difference(&value, &wanted);
            assert!(off < 2e-6, "{size:?}, channels {name}: value off by {off:e}");
            let off = difference(&gradient, &wanted_gradient);
            assert!(off < 2e-6, "{size:?}, channels {name}: gradient off by {off:e}");
        }
        let quiet = tch::no_grad(|| loss.forward(&logits, &labels, Some(&weights)).unwrap());
        assert!(!quiet.requires_grad() && difference(&quiet, &wanted) < 2e-6);
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let _numbers = seeded(5);
    let loss = criterion("name: CrossEntropyLoss");
    let logits = Tensor::randn([1, 3, 4, 70, 81], (Kind::Float, Device::Cpu));
    let labels = Labels::Dense(Tensor::randint(3, [1, 4, 70, 81], INTEGERS));
    let threads = tch::get_num_threads();
    let results: Vec<_> = [1, 2, 5]
        .iter()
        .map(|&count| {
            tch::set_num_threads(count);
            differentiate(&logits, |x| loss.forward(x, &labels, None))
        })
        .collect();
    tch::set_num_threads(threads);
    for (value, gradient) in &results {
        assert!(value.equal(&results[0].0) && gradient.equal(&results[0].1));
    }
}

#[test]
fn what_is_not_finite_shows() {
    let loss = criterion("name: CrossEntropyLoss");
    for bad in [f64::NAN, f64::INFINITY] {
        for kind in [Kind::Float, Kind::Double] {
            let mut logits = Tensor::zeros([1, 3, 2, 2, 2], (kind, Device::Cpu));
            let _ = logits.get(0).get(1).get(1).get(0).get(1).fill_(bad);
            let labels = Labels::Dense(Tensor::zeros([1, 2, 2, 2], INTEGERS));
            let (value, gradient) = differentiate(&logits, |x| loss.forward(x, &labels, None));
            assert!(!value.double_value(&[]).is_finite(), "{bad} in {kind:?}");
            assert!(gradient.isfinite().all().int64_value(&[]) == 0);
            let _ = logits.zero_();
        }
    }
}

#[test]
fn a_factor_before_the_loss_scales_its_gradient() {
    let _numbers = seeded(6);
    let loss = criterion("name: CrossEntropyLoss");
    let logits = Tensor::randn([1, 3, 2, 3, 4], (Kind::Float, Device::Cpu));
    let labels = Labels::Dense(Tensor::randint(3, [1, 2, 3, 4], INTEGERS));
    let (_, once) = differentiate(&logits, |x| loss.forward(x, &labels, None));
    let (_, thrice) = differentiate(&logits, |x| Ok(loss.forward(x, &labels, None)? * 3.0));
    assert!(difference(&thrice, &(once * 3.0)) < 1e-6);
}

#[test]
fn a_label_that_is_no_class_is_an_error() {
    let loss = criterion("name: CrossEntropyLoss, ignore_index: -1");
    for kind in [Kind::Float, Kind::Double] {
        let logits = Tensor::zeros([1, 3, 1, 1, 2], (kind, Device::Cpu));
        let labels = Labels::Dense(Tensor::from_slice(&[-1i64, 3]).view([1, 1, 1, 2]));
        let message = loss.forward(&logits, &labels, None).unwrap_err().to_string();
        assert!(message.contains("outside the 3 classes"), "{message}");
    }
}

#[test]
fn a_batch_of_ignored_voxels_teaches_nothing() {
    let _numbers = seeded(7);
    for name in ["CrossEntropyLoss", "WeightedCrossEntropyLoss"] {
        let loss = criterion(&format!("name: {name}, ignore_index: -1"));
        for kind in [Kind::Float, Kind::Double] {
            let logits = Tensor::randn([1, 3, 2, 2, 2], (kind, Device::Cpu));
            let labels = Labels::Dense(Tensor::full([1, 2, 2, 2], -1, INTEGERS));
            let (value, gradient) = differentiate(&logits, |x| loss.forward(x, &labels, None));
            assert_eq!(value.double_value(&[]), 0.0);
            assert_eq!(gradient.abs().max().double_value(&[]), 0.0);
        }
    }
}
