//! Objects cut by distance and by walls, against scipy and scikit-image.

use std::fs;
use std::path::Path;

use hdf5::{File, Group};
use ndarray::{Array3, ArrayD};

use crate::support::fixture;
use crate::support::lab::Lab;
use crate::support::program::{Run, program};

/// Writes the predictions of a group to `a_predictions.h5`, with its voxel size.
fn prediction(lab: &Lab, group: &Group) {
    let values: ArrayD<f32> = group.dataset("predictions").unwrap().read_dyn().unwrap();
    let path = lab.volume("a_predictions.h5", &[("predictions", values)]);
    let file = File::append(path).unwrap();
    let size: Vec<f64> = group.attr("voxel_size").unwrap().read_raw().unwrap();
    let dataset = file.dataset("predictions").unwrap();
    dataset.new_attr_builder().with_data(&size).create("element_size_um").unwrap();
}

fn instances(lab: &Lab, flags: &[String]) -> Array3<u16> {
    let mut run = program();
    run.arg("instances").arg(lab.path("a_predictions.h5")).args(flags);
    Run::from(run.output().unwrap()).succeeded();
    let file = File::open(lab.path("a_instances.h5")).unwrap();
    file.dataset("instances").unwrap().read().unwrap()
}

/// The share of voxels that lie in other regions, whatever their numbers: each of ours
/// is taken for that of theirs in which most of it lies.
fn mismatch(ours: &Array3<u16>, theirs: &Array3<u16>) -> f64 {
    let most = |values: &Array3<u16>| usize::from(*values.iter().max().unwrap()) + 1;
    let mut table = ndarray::Array2::<u32>::zeros((most(ours), most(theirs)));
    for (a, b) in ours.iter().zip(theirs) {
        table[[usize::from(*a), usize::from(*b)]] += 1;
    }
    let agree: u32 = table.outer_iter().map(|row| *row.iter().max().unwrap()).sum();
    1.0 - f64::from(agree) / ours.len() as f64
}

fn expected(group: &Group) -> Array3<u16> {
    group.dataset("instances").unwrap().read().unwrap()
}

#[test]
fn objects_are_cut_by_their_distance_transform_as_by_scikit_image() {
    let file = File::open(fixture("instances/split.h5")).unwrap();
    let group = file.group("distance").unwrap();
    let lab = Lab::new();
    prediction(&lab, &group);
    let theirs = expected(&group);
    let ours = instances(&lab, &["--split=distance".into()]);
    assert_eq!(ours.iter().max(), theirs.iter().max());
    assert!(mismatch(&ours, &theirs) < 2e-4, "{}", mismatch(&ours, &theirs));
    // Without a split there are as many as there are heaps.
    fs::remove_file(lab.path("a_instances.h5")).unwrap();
    let ours = instances(&lab, &["--split=none".into()]);
    assert_eq!(ours.iter().max(), Some(&9));
}

#[test]
fn cells_between_walls_are_those_of_plantsegs_recipe() {
    let file = File::open(fixture("instances/split.h5")).unwrap();
    for name in ["boundary", "boundary_alpha"] {
        let group = file.group(name).unwrap();
        let lab = Lab::new();
        prediction(&lab, &group);
        let number = |name: &str| group.attr(name).unwrap().read_scalar::<f64>().unwrap();
        let flags = [
            "--method=boundary".into(),
            format!("--alpha={}", number("alpha")),
            format!("--min-size={}", number("min_size")),
        ];
        let (ours, theirs) = (instances(&lab, &flags), expected(&group));
        assert_eq!(ours.iter().max().map(|n| usize::from(*n)), distinct(&theirs), "{name}");
        assert!(mismatch(&ours, &theirs) < 2e-3, "{name}: {}", mismatch(&ours, &theirs));
        // Every voxel is in a cell.
        assert!(ours.iter().all(|label| *label > 0));
    }
}

fn distinct(labels: &Array3<u16>) -> Option<usize> {
    let mut values: Vec<u16> = labels.iter().copied().collect();
    values.sort_unstable();
    values.dedup();
    Some(values.len())
}

#[test]
fn slices_are_cut_one_by_one() {
    let file = File::open(fixture("instances/split.h5")).unwrap();
    let group = file.group("boundary").unwrap();
    let lab = Lab::new();
    prediction(&lab, &group);
    let ours =
        instances(&lab, &["--method=boundary".into(), "--slices".into(), "--min-size=20".into()]);
    let mut before = 0;
    for slice in ours.outer_iter() {
        let (least, most) = (slice.iter().min().unwrap(), slice.iter().max().unwrap());
        assert!(*least == before + 1 && most >= least);
        before = *most;
    }
}

/// A label image as the truth of a file `name`.
fn write_labels(path: &Path, labels: &Array3<u16>) {
    let file = File::create(path).unwrap();
    file.new_dataset_builder().with_data(labels).create("label").unwrap();
}

#[test]
fn the_nuclei_of_stardist_are_told_apart_by_their_distance_transform() {
    let file = File::open(fixture("evaluate/nuclei.h5")).unwrap();
    let lab = Lab::new();
    let mask: ArrayD<f32> = file.dataset("predictions").unwrap().read_dyn().unwrap();
    lab.volume("a_predictions.h5", &[("predictions", mask)]);
    instances(&lab, &["--split=distance".into()]);
    write_labels(&lab.path("a_label.h5"), &file.dataset("label").unwrap().read().unwrap());
    let mut run = program();
    run.arg("evaluate").arg(lab.path("a_instances.h5")).arg(lab.path("a_label.h5"));
    Run::from(run.arg("--output").arg(lab.path("")).output().unwrap()).succeeded();
    let summary = crate::names::json(&lab.path("summary.json"));
    let theirs = |name: &str| file.attr(name).unwrap().read_scalar::<f64>().unwrap();
    for name in ["ap_50", "panoptic_quality", "recall"] {
        let ours = summary["mean"]["objects"][name]["mean"].as_f64().unwrap();
        // The same recipe by scipy and scikit-image, on all of the volume at once: where two
        // nuclei touch at an edge, their distances are one there.
        assert!((ours - theirs(name)).abs() < 0.05, "{name}: {ours} {}", theirs(name));
    }
}
