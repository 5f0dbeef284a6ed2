//! Scores of every metric, and the parts they are made of
//! (`tests/fixtures/make_metric.py`).

use proptest::prelude::*;
use tch::{Kind, Tensor};
use unet3d::config::Tree;
use unet3d::metric::{self, Contingency, Labels, Matching, adapted_rand_error, components};

use crate::cases::{self, Case};

fn score(case: &Case, kind: Kind) -> f64 {
    let tree = case.config("eval_metric");
    let like = |t: Tensor| if t.kind() == Kind::Int64 { t } else { t.to_kind(kind) };
    let weight = case.maybe_tensor("weight").map(like);
    let (probabilities, target) = (like(case.tensor("probabilities")), like(case.tensor("target")));
    let chosen = metric::read(&tree.root).unwrap();
    chosen.metric.score(&probabilities, &target, weight.as_ref()).unwrap().unwrap()
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
    for name in metric::names() {
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
    assert_eq!(metric::read(&tree.root).unwrap().entry.name, "MeanIoU");
}

#[test]
fn a_batch_without_ground_truth_has_no_score() {
    let tree = Tree::parse("eval_metric: {name: PixelWiseMeanIoU}", "here", &[]).unwrap();
    let metric = metric::read(&tree.root).unwrap().metric;
    let probabilities = Tensor::rand([2, 3, 2, 2, 2], (Kind::Float, tch::Device::Cpu));
    let target = Tensor::zeros([2, 3, 2, 2, 2], (Kind::Int64, tch::Device::Cpu));
    let weight = Tensor::ones([2, 3, 2, 2, 2], (Kind::Float, tch::Device::Cpu));
    assert_eq!(metric.score(&probabilities, &target, Some(&weight)).unwrap(), None);
}

#[test]
fn psnr_refuses_labels_out_of_range() {
    let tree = Tree::parse("eval_metric: {name: PSNR}", "here", &[]).unwrap();
    let metric = metric::read(&tree.root).unwrap().metric;
    let target = Tensor::from_slice(&[0.0f32, 1.5]).view([1, 1, 1, 1, 2]);
    let message = metric.score(&target, &target, None).unwrap_err().to_string();
    assert!(message.contains("Normalize"), "{message}");
}

#[test]
fn components_and_tables_are_those_of_scikit_image() {
    for case in cases::read("metric", "parts.h5") {
        let ints = |name: &str| -> Vec<i64> {
            let tensor = case.tensor(name).to_kind(Kind::Int64).flatten(0, -1);
            tensor.try_into().unwrap()
        };
        if let Some(mask) = case.maybe_tensor("mask") {
            let size: Vec<usize> = mask.size().iter().map(|&n| n as usize).collect();
            let mask: Vec<_> = ints("mask").into_iter().map(|voxel| voxel != 0).collect();
            let found = components(&mask, size.try_into().unwrap());
            let labels: Vec<_> = found.labels.iter().map(|&label| i64::from(label)).collect();
            assert_eq!(labels, ints("labels"), "{}", case.name);
            assert_eq!(i64::from(found.count), *labels.iter().max().unwrap());
        } else {
            let (truth, found) = (Labels::new(&ints("truth")), Labels::new(&ints("found")));
            let table: Vec<_> = Contingency::new(&truth, &found)
                .pairs
                .into_iter()
                .flat_map(|(a, b, count)| {
                    [truth.values[a as usize], found.values[b as usize], count as i64]
                })
                .collect();
            assert_eq!(table, ints("table"), "{}", case.name);
            let error = adapted_rand_error(&truth, &found);
            assert!((error - case.tensor("error").double_value(&[])).abs() < 1e-12);
        }
    }
}

#[test]
fn one_component_per_piece_that_shares_faces() {
    // Two slices of two rows: the diagonal neighbours stay apart, the voxel
    // below joins.
    let mask = [true, false, false, true, true, false, false, false];
    let found = components(&mask, [2, 2, 2]);
    assert_eq!(found.labels, [1, 0, 0, 2, 1, 0, 0, 0]);
    assert_eq!(found.count, 2);
    assert_eq!(components(&[], [0, 3, 3]).count, 0);
}

#[test]
fn labels_far_apart_are_numbered_as_those_close_together() {
    let near = Labels::new(&[4, 4, -1, 2, 2, 2]);
    assert_eq!((&near.values[..], &near.sizes[..]), (&[-1, 2, 4][..], &[1, 3, 2][..]));
    assert_eq!(near.ids, [2, 2, 0, 1, 1, 1]);
    let far = Labels::new(&[1 << 60, 1 << 60, i64::MIN, 7, 7, 7]);
    assert_eq!((far.ids, far.sizes), (near.ids, near.sizes));
}

/// Components by flooding from every voxel, the way the word is defined.
fn flood(mask: &[bool], [depth, height, width]: [usize; 3]) -> Vec<u32> {
    let mut labels = vec![0; mask.len()];
    let mut count = 0;
    for start in 0..mask.len() {
        if !mask[start] || labels[start] != 0 {
            continue;
        }
        count += 1;
        let mut stack = vec![start];
        while let Some(at) = stack.pop() {
            if !mask[at] || labels[at] != 0 {
                continue;
            }
            labels[at] = count;
            let (z, y, x) = (at / (height * width), at / width % height, at % width);
            let mut visit = |inside: bool, to: isize| {
                if inside {
                    stack.push(at.wrapping_add_signed(to));
                }
            };
            visit(x > 0, -1);
            visit(x + 1 < width, 1);
            visit(y > 0, -(width as isize));
            visit(y + 1 < height, width as isize);
            visit(z > 0, -((height * width) as isize));
            visit(z + 1 < depth, (height * width) as isize);
        }
    }
    labels
}

fn masks() -> impl Strategy<Value = (Vec<bool>, [usize; 3])> {
    (1usize..5, 1usize..8, 1usize..70, 0.05..0.95f64).prop_flat_map(|(d, h, w, density)| {
        prop::collection::vec(prop::bool::weighted(density), d * h * w)
            .prop_map(move |mask| (mask, [d, h, w]))
    })
}

proptest! {
    #[test]
    fn components_are_what_a_flood_reaches((mask, size) in masks()) {
        prop_assert_eq!(components(&mask, size).labels, flood(&mask, size));
    }

    #[test]
    fn a_table_counts_every_voxel_once(
        images in prop::collection::vec((-3i64..4, -2i64..5), 1..200)
    ) {
        let (truth, found): (Vec<_>, Vec<_>) = images.iter().copied().unzip();
        let (truth, found) = (Labels::new(&truth), Labels::new(&found));
        let table = Contingency::new(&truth, &found);
        prop_assert_eq!(table.pairs.iter().map(|pair| pair.2).sum::<u64>(), images.len() as u64);
        for &(a, b, count) in &table.pairs {
            let pair = (truth.values[a as usize], found.values[b as usize]);
            let direct = images.iter().filter(|voxel| **voxel == pair).count() as u64;
            prop_assert_eq!(count, direct);
        }
    }

    #[test]
    fn names_of_labels_do_not_matter(
        images in prop::collection::vec((1i64..5, 0i64..5), 2..200), shift in 1i64..1_000_000_000
    ) {
        let (truth, found): (Vec<_>, Vec<_>) = images.into_iter().unzip();
        let renamed: Vec<_> = found.iter().map(|label| (7 - label) * shift).collect();
        let (truth, found) = (Labels::new(&truth), Labels::new(&found));
        let renamed = Labels::new(&renamed);
        let error = adapted_rand_error(&truth, &found);
        prop_assert!((0.0..=1.0).contains(&error));
        prop_assert!((error - adapted_rand_error(&truth, &renamed)).abs() < 1e-12);
        prop_assert_eq!(adapted_rand_error(&truth, &truth), 0.0);
    }

    #[test]
    fn an_image_matches_itself(image in prop::collection::vec(0i64..6, 2..200)) {
        let labels = Labels::new(&image);
        let perfect = if labels.values.len() > 1 { 1.0 } else { 0.0 };
        for matching in [Matching::Accuracy, Matching::AveragePrecision] {
            prop_assert!((matching.score(&labels, &labels) - perfect).abs() < 1e-12);
        }
    }
}
