//! Scores of every metric, and the parts they are made of
//! (`tests/fixtures/make_metric.py`).

use proptest::prelude::*;
use tch::{Kind, Tensor};
use unet3d::config::Tree;
use unet3d::metric::{self, METRICS, Matching, adapted_rand_error};
use unet3d::regions::LabelImage;
use unet3d::target::{Labels, Weights};

use crate::cases::{self, Case};

fn score(case: &Case, kind: Kind) -> f64 {
    let tree = case.config("eval_metric");
    let like = |t: Tensor| if t.kind() == Kind::Int64 { t } else { t.to_kind(kind) };
    let weight = case.maybe_tensor("weight").map(like).map(Weights::Dense);
    let (probabilities, target) = (like(case.tensor("probabilities")), like(case.tensor("target")));
    let metric = metric::read(&tree.root).unwrap();
    metric.score(&probabilities, &Labels::Dense(target), weight.as_ref()).unwrap().unwrap()
}

#[test]
fn scores_are_those_of_the_definitions() {
    let cases = cases::read("metric", "cases.h5");
    for case in &cases {
        let (found, wanted) = (score(case, Kind::Double), case.tensor("score").double_value(&[]));
        assert!((found - wanted).abs() < 1e-9, "{}: {found} instead of {wanted}", case.name);
    }
    let name_of = |case: &Case| {
        case.config("eval_metric").root.at("eval_metric.name").unwrap().text().unwrap().to_string()
    };
    let tried: Vec<_> = cases.iter().map(name_of).collect();
    for name in METRICS.fork.names() {
        assert!(tried.iter().any(|tried| tried == name), "no case tries {name}");
    }
}

#[test]
fn float32_scores_are_close() {
    for case in cases::read("metric", "cases.h5") {
        let (found, wanted) = (score(&case, Kind::Float), case.tensor("score").double_value(&[]));
        let off = (found - wanted).abs();
        assert!(off < 1e-5 * wanted.abs().max(1.0), "{}: {found} instead of {wanted}", case.name);
    }
}

#[test]
fn a_configuration_without_metric_has_mean_iou() {
    let tree = Tree::parse("manual_seed: 0", "here", &[]).unwrap();
    assert_eq!(metric::read(&tree.root).unwrap().name(), "MeanIoU");
}

#[test]
fn a_batch_without_ground_truth_has_no_score() {
    let _numbers = cases::seeded(8);
    let tree = Tree::parse("eval_metric: {name: PixelWiseMeanIoU}", "here", &[]).unwrap();
    let metric = metric::read(&tree.root).unwrap();
    let probabilities = Tensor::rand([2, 3, 2, 2, 2], (Kind::Float, tch::Device::Cpu));
    let labels = Labels::Dense(Tensor::zeros([2, 3, 2, 2, 2], (Kind::Int64, tch::Device::Cpu)));
    let weights = Weights::Dense(Tensor::ones([2, 3, 2, 2, 2], (Kind::Float, tch::Device::Cpu)));
    assert_eq!(metric.score(&probabilities, &labels, Some(&weights)).unwrap(), None);
}

#[test]
fn psnr_refuses_labels_out_of_range() {
    let tree = Tree::parse("eval_metric: {name: PSNR}", "here", &[]).unwrap();
    let metric = metric::read(&tree.root).unwrap();
    let target = Tensor::from_slice(&[0.0f32, 1.5]).view([1, 1, 1, 1, 2]);
    let message = metric
        .score(&target, &Labels::Dense(target.shallow_clone()), None)
        .unwrap_err()
        .to_string();
    assert!(message.contains("Normalize"), "{message}");
}

#[test]
fn adapted_rand_errors_are_those_of_scikit_image() {
    for case in cases::read("metric", "parts.h5") {
        let Some(wanted) = case.maybe_tensor("error") else { continue };
        let image = |name: &str| LabelImage::new(&case.integers(name));
        let error = adapted_rand_error(&image("truth"), &image("found"));
        assert!((error - wanted.double_value(&[])).abs() < 1e-12, "{}", case.name);
    }
}

proptest! {
    #[test]
    fn names_of_labels_do_not_matter(
        images in prop::collection::vec((1i64..5, 0i64..5), 2..200), shift in 1i64..1_000_000_000
    ) {
        let (truth, found): (Vec<_>, Vec<_>) = images.into_iter().unzip();
        let renamed: Vec<_> = found.iter().map(|label| (7 - label) * shift).collect();
        let (truth, found) = (LabelImage::new(&truth), LabelImage::new(&found));
        let renamed = LabelImage::new(&renamed);
        let error = adapted_rand_error(&truth, &found);
        prop_assert!((0.0..=1.0).contains(&error));
        prop_assert!((error - adapted_rand_error(&truth, &renamed)).abs() < 1e-12);
        prop_assert_eq!(adapted_rand_error(&truth, &truth), 0.0);
    }

    #[test]
    fn an_image_matches_itself(image in prop::collection::vec(0i64..6, 2..200)) {
        let labels = LabelImage::new(&image);
        let perfect = if labels.values.len() > 1 { 1.0 } else { 0.0 };
        for matching in [Matching::Accuracy, Matching::AveragePrecision] {
            prop_assert!((matching.score(&labels, &labels) - perfect).abs() < 1e-12);
        }
    }
}
