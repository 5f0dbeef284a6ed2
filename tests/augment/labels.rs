//! Crops and label transforms with random numbers, and the input that they refuse.

use std::collections::BTreeMap;

use ndarray::Array4;
use unet3d::augment::stream::SampleKey;
use unet3d::augment::{SampleShape, Transformer};
use unet3d::config::{ConfigError, Tree};
use unet3d::volume::{Element, Sample, Statistics, Values, Volume, VolumeShape};

const STATISTICS: Statistics = Statistics { min: 0.0, max: 1.0, mean: 0.0, std: 1.0 };

fn read(transforms: &str) -> Result<Transformer, ConfigError> {
    let text = format!("raw: [{transforms}]\nlabel: [{transforms}]");
    Transformer::read(&Tree::parse(&text, "config.yaml", &[]).unwrap().root)
}

fn key(sample: u64) -> SampleKey {
    SampleKey { seed: 3, epoch: 0, sample }
}

fn bytes(volume: &Volume) -> &Array4<u8> {
    match &volume.values {
        Values::U8(array) => array,
        other => panic!("{other:?}"),
    }
}

#[test]
fn random_crops_are_uniform_and_the_same_for_raw_and_label() {
    let transformer = read("{name: CropToFixed, size: [4, 9]}").unwrap();
    let volume = || {
        let array = Array4::from_shape_fn((1, 2, 6, 7), |(_, z, y, x)| (z * 42 + y * 7 + x) as u8);
        Volume::plain(array)
    };
    let mut corners = BTreeMap::new();
    for i in 0..400 {
        let sample = Sample { raw: volume(), label: Some(volume().into()), weight: None };
        let out = transformer.apply(sample, key(i), &STATISTICS).unwrap();
        assert_eq!(Some(out.raw.clone().into()), out.label);
        let array = bytes(&out.raw);
        assert_eq!(array.dim(), (1, 2, 4, 9));
        // Padded in x: voxel 1 of the crop is voxel 0 of the volume.
        let corner = array[(0, 0, 0, 1)];
        assert_eq!(array[(0, 1, 3, 0)], corner + 42 + 21 + 1, "mirrored without the edge");
        *corners.entry(corner / 7).or_insert(0) += 1;
    }
    assert_eq!(corners.keys().copied().collect::<Vec<_>>(), [0, 1], "[0, 6 − 4)");
    assert!((150..250).contains(&corners[&0]), "{corners:?}");
}

#[test]
fn random_affinities_draw_axis_and_offset() {
    let transformer = read("{name: RandomLabelToAffinities, max_offset: 10}").unwrap();
    let n = 24;
    let octants = || {
        let half = n / 2;
        let label = |(_, z, y, x): (usize, usize, usize, usize)| {
            u8::from(x >= half) + 2 * u8::from(y >= half) + 4 * u8::from(z >= half)
        };
        Volume::plain(Array4::from_shape_fn((1, n, n, n), label))
    };
    let mut offsets: [Vec<f64>; 3] = Default::default();
    for i in 0..600 {
        let out = transformer.apply_raw(octants(), key(i), &STATISTICS).unwrap();
        // A slab about the middle plane, as thick as the offset.
        let array = bytes(&out);
        let marked = |along: [usize; 3]| {
            (0..n).filter(|i| array[(0, along[0] * i, along[1] * i, along[2] * i)] == 1).count()
        };
        let slabs = [marked([1, 0, 0]), marked([0, 1, 0]), marked([0, 0, 1])];
        let axis = slabs.iter().position(|&marked| 0 < marked && marked < n).unwrap();
        assert_eq!(array.iter().filter(|&&x| x == 1).count(), slabs[axis] * n * n);
        offsets[axis].push(slabs[axis] as f64);
    }
    for (offsets, mean) in offsets.iter().zip([2.6, 5.5, 5.5]) {
        assert!((140..260).contains(&offsets.len()), "axes are equally probable");
        let found = offsets.iter().sum::<f64>() / offsets.len() as f64;
        assert!((found - mean).abs() < 0.8, "{found} instead of {mean}");
        let largest = offsets.iter().copied().fold(0.0, f64::max);
        assert_eq!(largest, if mean < 3.0 { 5.0 } else { 10.0 });
    }
}

#[test]
fn channels_are_refused_where_a_transform_works_on_3d_alone() {
    let input = |channels| SampleShape {
        raw: VolumeShape { channels, element: Element::U16, sizes: vec![[8, 16, 16]] },
        label: None,
        weight: None,
    };
    for transform in [
        "name: CropToFixed",
        "name: StandardLabelToBoundary",
        "name: BlobsWithBoundary",
        "name: BlobsToMask",
        "name: FlyWingBoundary",
        "name: RandomLabelToAffinities",
        "name: LabelToAffinities, offsets: [1]",
        "name: LabelToZAffinities, offsets: [1]",
        "name: LabelToBoundaryAndAffinities, xy_offsets: [1], z_offsets: [1]",
        "name: LabelToMaskAndAffinities, xy_offsets: [1], z_offsets: [1]",
    ] {
        let transformer = read(&format!("{{name: Identity}}, {{{transform}}}")).unwrap();
        let message = transformer.output_shape(input(Some(2))).unwrap_err().to_string();
        assert!(message.contains("raw[1]") && message.contains("(D, H, W)"), "{message}");
        transformer.output_shape(input(None)).unwrap();
    }
}

#[test]
fn impossible_values_are_refused() {
    for (transform, part) in [
        ("name: CropToFixed, size: [4]", "size"),
        ("name: CropToFixed, size: [4, 0]", "size"),
        ("name: StandardLabelToBoundary, sigma: -1", "sigma"),
        ("name: StandardLabelToBoundary, mode: subpixel", "mode"),
        ("name: BlobsWithBoundary, mode: [thick, thin]", "mode"),
        ("name: BlobsWithBoundary, mode: thick", "mode"),
        ("name: LabelToAffinities", "offsets"),
        ("name: LabelToAffinities, offsets: [1, 1]", "offsets"),
        ("name: LabelToAffinities, offsets: [0]", "offsets"),
        ("name: LabelToAffinities, offsets: []", "offsets"),
        ("name: LabelToAffinities, offsets: [1, 2], z_offsets: [1]", "z_offsets"),
        ("name: LabelToMaskAndAffinities, xy_offsets: [1]", "z_offsets"),
        ("name: RandomLabelToAffinities, max_offset: 0", "max_offset"),
        ("name: FlyWingBoundary, z_offsets: [-1]", "z_offsets"),
    ] {
        let message = match read(&format!("{{{transform}}}")) {
            Ok(_) => panic!("{transform} was accepted"),
            Err(error) => error.to_string(),
        };
        assert!(message.contains("raw[0]") && message.contains(part), "{transform}: {message}");
    }
}
