//! Transforming a sample takes at most four float32 patches of memory beyond its input.

use crate::support::peak::alone;
use std::path::Path;

use ndarray::Array4;
use unet3d::augment::Transformer;
use unet3d::augment::stream::SampleKey;
use unet3d::config::Tree;
use unet3d::volume::{Sample, Statistics, Volume};

const STATISTICS: Statistics = Statistics { min: 0.0, max: 1000.0, mean: 500.0, std: 300.0 };

/// Peak memory beyond the input over some samples, in float32 patches.
fn peak(file: &str, overrides: &[&str], channels: Option<usize>, weight: bool) -> f64 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
    let tree = Tree::read(&path, &overrides).unwrap();
    let transformer =
        Transformer::read(tree.root.at("loaders.train.transformer").unwrap()).unwrap();
    let shape = (channels.unwrap_or(1), 32, 64, 128);
    let values = |(c, z, y, x)| ((c * 31 + z * 17 + y * 13 + x * 7) % 1000) as u16;
    let raw = Array4::from_shape_fn(shape, values).mapv(f32::from);
    let patch = 4 * raw.len();
    let label = Volume::plain(Array4::from_shape_fn((1, shape.1, shape.2, shape.3), values));
    let input = Sample {
        raw: Volume { values: raw.into(), has_channels: channels.is_some() },
        weight: weight.then(|| label.clone().into()),
        label: channels.is_none().then(|| label.into()),
    };
    let mut most = 0;
    for i in 0..8 {
        // Counting starts after the copy that the transforms consume.
        let profiler = dhat::Profiler::builder().testing().build();
        let copy = input.clone();
        let before = dhat::HeapStats::get().curr_bytes;
        let key = SampleKey { seed: 1, epoch: 0, sample: i };
        let output = transformer.apply(copy, key, &STATISTICS).unwrap();
        most = most.max(dhat::HeapStats::get().max_bytes - before);
        drop(output);
        drop(profiler);
    }
    most as f64 / patch as f64
}

#[test]
fn the_peak_is_at_most_four_patches() {
    let _alone = alone();
    let always = |list: &str, i: usize| {
        format!("loaders.train.transformer.{list}.{i}.execution_probability=1")
    };
    let elastic: Vec<String> =
        [("raw", 3), ("raw", 4), ("label", 2), ("label", 3)].map(|(l, i)| always(l, i)).into();
    let elastic: Vec<&str> = elastic.iter().map(String::as_str).collect();
    for (file, overrides, channels, weight) in [
        ("SegmentationNet/instance_segmentation_train.yaml", &[][..], None, true),
        ("resources/train_config_boundary.yaml", &elastic, None, false),
        ("resources/train_config_ce.yaml", &elastic, None, false),
        ("AutoCellLabeler_parameters/train_paper_all.yaml", &[], Some(4), false),
    ] {
        let peak = peak(file, overrides, channels, weight);
        println!("{file}: {peak:.2}");
        assert!(peak > 0.1 && peak <= 4.0, "{file}: {peak:.2} float32 patches");
    }
}
