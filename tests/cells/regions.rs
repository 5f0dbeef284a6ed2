//! Regions and cuts against those recorded from SegmentationTools.jl.

use std::fs;
use std::path::{Path, PathBuf};

use hdf5::File;
use ndarray::{Array2, Array3, ArrayD, Axis};
use unet3d::instances::{
    Foreground, InMemory, Input, InstancesPlan, Level, Segmentation, Split, segment,
};

use crate::support::fixture;

pub fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<_> = fs::read_dir(fixture("recorded/instances"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    assert_eq!(cases.len(), 17);
    cases
}

/// Numbers of a list in `params.json`, or a number.
pub fn parameter(case: &Path, name: &str) -> Vec<f64> {
    let text = fs::read_to_string(case.join("params.json")).unwrap();
    let text = text.split(&format!("\"{name}\":")).nth(1).unwrap().trim_start();
    let text = match text.strip_prefix('[') {
        Some(list) => list.split(']').next().unwrap(),
        None => text.split([',', '}']).next().unwrap(),
    };
    text.split(',').map(str::trim).filter(|n| !n.is_empty()).map(|n| n.parse().unwrap()).collect()
}

fn probability(case: &Path) -> Array3<f32> {
    let volume: ArrayD<f32> =
        File::open(case.join("volume.h5")).unwrap().dataset("predictions").unwrap().read().unwrap();
    let volume = if volume.ndim() == 4 { volume.index_axis_move(Axis(0), 1) } else { volume };
    volume.into_dimensionality::<ndarray::Ix3>().unwrap().as_standard_layout().into_owned()
}

fn run(case: &Path, original: bool, threads: usize) -> Segmentation {
    let levels = parameter(case, "thresholds").into_iter().zip(parameter(case, "sizes"));
    let plan = Foreground {
        threshold: parameter(case, "threshold")[0],
        min_size: parameter(case, "min_size")[0] as u64,
        original,
        split: Split::Thresholds {
            levels: levels
                .map(|(threshold, size)| Level { threshold, min_size: size as u64 })
                .collect(),
            whole_parts: false,
        },
        ..Foreground::default()
    };
    let volume = probability(case);
    let (depth, height, width) = volume.dim();
    let planes = InMemory::new(volume.as_slice().unwrap(), [depth, height, width]);
    let input = Input {
        probability: &planes,
        mask: None,
        raw: None,
        seeds: None,
        spacing: [1.0; 3],
        threads,
        memory: 1 << 20,
        scratch: Path::new("."),
    };
    segment(&InstancesPlan::Foreground(plan), &input).unwrap()
}

#[test]
fn regions_and_cuts_are_those_of_the_original() {
    for case in cases() {
        let expected = File::open(case.join("expected.h5")).unwrap();
        for (group, original) in [("exact", true), ("repaired", false)] {
            let expected = expected.group(group).unwrap();
            let image = |name: &str| -> Vec<u32> {
                let image: Array3<u16> = expected.dataset(name).unwrap().read().unwrap();
                image.iter().map(|label| u32::from(*label)).collect()
            };
            let evidence: Array2<i64> = expected
                .dataset("evidence")
                .unwrap()
                .read_dyn()
                .unwrap()
                .into_dimensionality()
                .unwrap();
            for threads in [1, 3] {
                let found = run(&case, original, threads);
                let name = format!("{} {group}", case.display());
                assert!(found.before.labels() == image("roi"), "{name}: before the cut");
                let ours: Vec<Vec<i64>> = found
                    .evidence
                    .iter()
                    .map(|(label, [x, y, z])| vec![i64::from(*label), *x, *y, *z])
                    .collect();
                let theirs: Vec<Vec<i64>> = evidence.outer_iter().map(|row| row.to_vec()).collect();
                assert_eq!(ours, theirs, "{name}: evidence");
                assert!(found.regions.labels() == image("roi_watershed"), "{name}: after the cut");
            }
        }
    }
}
