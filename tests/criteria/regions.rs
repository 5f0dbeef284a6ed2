//! Connected components and tables of two label images, against scikit-image
//! (`tests/fixtures/make_metric.py`) and against their definitions.

use ndarray::{Array3, array};
use proptest::prelude::*;
use unet3d::regions::{Connectivity, Contingency, LabelImage, Overlap, components};

use crate::cases;

#[test]
fn components_and_tables_are_those_of_scikit_image() {
    for case in cases::read("metric", "parts.h5") {
        if let Some(mask) = case.maybe_tensor("mask") {
            let size: Vec<usize> = mask.size().iter().map(|&n| n as usize).collect();
            let size: [usize; 3] = size.try_into().unwrap();
            let mask: Vec<_> = case.integers("mask").into_iter().map(|voxel| voxel != 0).collect();
            let mask = Array3::from_shape_vec(size, mask).unwrap();
            let found = components(mask.view(), Connectivity::Faces6);
            let labels: Vec<_> = found.labels.iter().map(|&label| i64::from(label)).collect();
            assert_eq!(labels, case.integers("labels"), "{}", case.name);
            assert_eq!(i64::from(found.count), *labels.iter().max().unwrap());
        } else {
            let image = |name: &str| LabelImage::new(&case.integers(name));
            let (truth, found) = (image("truth"), image("found"));
            let table: Vec<_> = Contingency::new(&truth, &found)
                .pairs
                .into_iter()
                .flat_map(|(a, b, count)| {
                    [truth.values[a as usize], found.values[b as usize], count as i64]
                })
                .collect();
            assert_eq!(table, case.integers("table"), "{}", case.name);
        }
    }
}

#[test]
fn neighbours_share_faces_edges_or_corners() {
    // Two slices: the second voxel shares an edge with the first, the third a corner
    // with the first, the last a face with the first.
    let mask = array![
        [[true, false, false], [false, true, false]],
        [[true, false, false], [false, false, false]],
    ];
    let labels = |connectivity| components(mask.view(), connectivity).labels;
    assert_eq!(
        labels(Connectivity::Faces6),
        array![[[1, 0, 0], [0, 2, 0]], [[1, 0, 0], [0, 0, 0]]]
    );
    assert_eq!(
        labels(Connectivity::Edges18),
        array![[[1, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 0, 0]]]
    );
    let corner = array![[[true, false], [false, false]], [[false, false], [false, true]]];
    assert_eq!(components(corner.view(), Connectivity::Edges18).count, 2);
    assert_eq!(components(corner.view(), Connectivity::Corners26).count, 1);
    let nothing = Array3::from_elem([0, 3, 3], true);
    assert_eq!(components(nothing.view(), Connectivity::Faces6).count, 0);
}

#[test]
fn a_view_is_labelled_in_its_own_order() {
    let mask = array![[[true, false, true], [false, false, true]]];
    let turned = mask.view().reversed_axes();
    let found = components(turned, Connectivity::Faces6);
    assert_eq!(found.labels, array![[[1], [0]], [[0], [0]], [[2], [2]]]);
}

#[test]
fn components_become_labels_with_sizes() {
    let mask = array![[[true, true, false, true]]];
    let image = LabelImage::from(components(mask.view(), Connectivity::Faces6));
    assert_eq!(image, LabelImage::new(&[1, 1, 0, 2]));
    let full = array![[[true, true]]];
    let image = LabelImage::from(components(full.view(), Connectivity::Faces6));
    assert_eq!(image, LabelImage::new(&[1, 1]));
}

#[test]
fn labels_far_apart_are_numbered_as_those_close_together() {
    let near = LabelImage::new(&[4, 4, -1, 2, 2, 2]);
    assert_eq!((&near.values[..], &near.sizes[..]), (&[-1, 2, 4][..], &[1, 3, 2][..]));
    assert_eq!(near.ids, [2, 2, 0, 1, 1, 1]);
    let far = LabelImage::new(&[1 << 60, 1 << 60, i64::MIN, 7, 7, 7]);
    assert_eq!((far.ids, far.sizes), (near.ids, near.sizes));
}

#[test]
fn overlaps_leave_out_the_background() {
    let truth = LabelImage::new(&[0, 0, 1, 1, 1, 2]);
    let found = LabelImage::new(&[0, 5, 5, 5, 0, 0]);
    let overlaps = Contingency::new(&truth, &found).overlaps(&truth, &found);
    assert_eq!(overlaps, [Overlap { truth: 1, found: 1, iou: 0.5 }]);
}

/// Components by flooding from every voxel, the way the word is defined. Neighbours
/// differ by at most one along each axis, and along at most `axes` of them.
fn flood(mask: &Array3<bool>, axes: usize) -> Array3<u32> {
    let mut labels = Array3::zeros(mask.dim());
    let mut count = 0;
    for (start, &set) in mask.indexed_iter() {
        if !set || labels[start] != 0 {
            continue;
        }
        count += 1;
        let mut stack = vec![start];
        while let Some(at) = stack.pop() {
            if !mask[at] || labels[at] != 0 {
                continue;
            }
            labels[at] = count;
            for step in 0..27isize {
                let (dz, dy, dx) = (step / 9 - 1, step / 3 % 3 - 1, step % 3 - 1);
                let differ = [dz, dy, dx].iter().filter(|step| **step != 0).count();
                let to = (
                    at.0.wrapping_add_signed(dz),
                    at.1.wrapping_add_signed(dy),
                    at.2.wrapping_add_signed(dx),
                );
                if differ <= axes && mask.get(to).is_some() {
                    stack.push(to);
                }
            }
        }
    }
    labels
}

fn masks() -> impl Strategy<Value = Array3<bool>> {
    (1usize..5, 1usize..8, 1usize..70, 0.05..0.95f64).prop_flat_map(|(d, h, w, density)| {
        prop::collection::vec(prop::bool::weighted(density), d * h * w)
            .prop_map(move |mask| Array3::from_shape_vec([d, h, w], mask).unwrap())
    })
}

proptest! {
    #[test]
    fn components_are_what_a_flood_reaches(mask in masks()) {
        let kinds = [Connectivity::Faces6, Connectivity::Edges18, Connectivity::Corners26];
        for (axes, connectivity) in (1..).zip(kinds) {
            let found = components(mask.view(), connectivity);
            prop_assert_eq!(found.count, found.labels.iter().max().copied().unwrap_or(0));
            prop_assert_eq!(found.labels, flood(&mask, axes));
        }
    }

    #[test]
    fn a_table_counts_every_voxel_once(
        images in prop::collection::vec((-3i64..4, -2i64..5), 1..200)
    ) {
        let (truth, found): (Vec<_>, Vec<_>) = images.iter().copied().unzip();
        let (truth, found) = (LabelImage::new(&truth), LabelImage::new(&found));
        let table = Contingency::new(&truth, &found);
        prop_assert_eq!(table.pairs.iter().map(|pair| pair.2).sum::<u64>(), images.len() as u64);
        for &(a, b, count) in &table.pairs {
            let pair = (truth.values[a as usize], found.values[b as usize]);
            let direct = images.iter().filter(|voxel| **voxel == pair).count() as u64;
            prop_assert_eq!(count, direct);
        }
    }
}
