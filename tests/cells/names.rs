//! `unet3d name-cells` against the records of AutoCellLabeler.

use std::fs;
use std::path::{Path, PathBuf};

use hdf5::File;
use hdf5::types::VarLenUnicode;
use ndarray::{Array2, ArrayD};
use serde_json::Value;

use crate::support::fixture;
use crate::support::lab::Lab;
use crate::support::program::{Run, program};

fn folder(case: &str) -> PathBuf {
    fixture("recorded/cells").join(case)
}

pub fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// `name-cells` on a recorded animal, to `labels.csv` in the lab.
fn name_cells(lab: &Lab, case: &str, more: &[String]) -> Run {
    let case = folder(case);
    let mut run = program();
    run.arg("name-cells");
    for (flag, file) in [
        ("--predictions", "predictions.h5"),
        ("--regions", "roi_crop.h5"),
        ("--names", "neuron_ids.h5"),
        ("--rois", "roi.nrrd"),
    ] {
        // A flag that a test gives itself takes the place of the record's.
        if !more.iter().any(|word| word.split('=').next() == Some(flag)) {
            run.arg(flag).arg(case.join(file));
        }
    }
    run.arg("--output").arg(lab.path("labels.csv")).args(more);
    run.output().expect("the program starts").into()
}

fn list(value: &Value) -> String {
    let items = value.as_array().unwrap().iter();
    items
        .map(|item| item.as_str().map_or(item.to_string(), str::to_owned))
        .collect::<Vec<_>>()
        .join(",")
}

/// The flags of a group of probabilities.
fn matrix_flags(case: &str, group: &str) -> Vec<String> {
    let file = File::open(folder(case).join("probability.h5")).unwrap();
    let group = file.group(group).unwrap();
    let mut flags = Vec::new();
    for (attribute, flag) in [
        ("roi_edge_value", "edge-weight"),
        ("contamination_threshold", "contamination-probability"),
    ] {
        if let Ok(attribute) = group.attr(attribute) {
            flags.push(format!("--{flag}={}", attribute.read_scalar::<f64>().unwrap()));
        }
    }
    if group.attr("is_gt").is_ok() {
        flags.push(format!("--predictions={}", folder(case).join("input.h5").display()));
        flags.push("--predictions-dataset=label".into());
    }
    flags
}

/// The flags of the arguments of a recorded run; links to the moving animal as a file.
fn naming_flags(lab: &Lab, record: &Value) -> Vec<String> {
    let mut flags = Vec::new();
    for (name, value) in record["arguments"].as_object().unwrap() {
        let flag = match name.as_str() {
            "max_distance" => "max-distance",
            "max_prob_decrease" => "max-prob-decrease",
            "min_prob" => "min-prob",
            "lrswap_threshold" => "left-right-threshold",
            "contamination_threshold" => "contamination-voxels",
            "contamination_frac_threshold" => "contamination-fraction",
            "confidence_demote" => "demoted-confidence",
            "repeatable_labels" => "repeatable",
            "excluded_classes" => "excluded",
            "exclude_rois" if list(value).is_empty() => continue,
            "exclude_rois" => "exclude-regions",
            "roi_matches" => {
                let path = lab.path("matches.txt");
                fs::write(&path, list(value).replace(',', "\n")).unwrap();
                flags.push(format!("--matches={}", path.display()));
                continue;
            }
            other => panic!("{other}"),
        };
        let value = if value.is_array() { list(value) } else { value.to_string() };
        flags.push(format!("--{flag}={value}"));
    }
    if record["roi_sizes"] == "none" {
        // Sizes are known here, and where they are not, the original takes them as 1: then
        // one foreign voxel is enough.
        flags.push("--contamination-voxels=1".into());
    }
    flags
}

fn runs() -> Vec<(&'static str, String)> {
    let mut runs = Vec::new();
    for case in ["a", "b"] {
        for entry in fs::read_dir(folder(case)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            if path.extension().is_some_and(|end| end == "csv") && name != "human" {
                runs.push((case, name));
            }
        }
    }
    assert_eq!(runs.len(), 10);
    runs
}

#[test]
fn tables_are_those_of_the_original_byte_for_byte() {
    for (case, name) in runs() {
        let lab = Lab::new();
        let record = json(&folder(case).join(format!("{name}.json")));
        let mut flags = matrix_flags(case, record["probabilities"].as_str().unwrap());
        flags.extend(naming_flags(&lab, &record));
        flags.push("--original".into());
        name_cells(&lab, case, &flags).succeeded();
        let ours = fs::read_to_string(lab.path("labels.csv")).unwrap();
        let theirs = fs::read_to_string(folder(case).join(format!("{name}.csv"))).unwrap();
        for (ours, theirs) in ours.split("\r\n").zip(theirs.split("\r\n")) {
            assert_eq!(ours, theirs, "{case} {name}");
        }
        assert!(ours == theirs, "{case} {name}");
    }
}

#[test]
fn without_the_faults_only_undecided_alternatives_differ() {
    let lab = Lab::new();
    name_cells(&lab, "a", &["--max-prob-decrease=0.3".into()]).succeeded();
    let ours = fs::read_to_string(lab.path("labels.csv")).unwrap();
    let theirs = fs::read_to_string(folder("a").join("default.csv")).unwrap();
    assert_eq!(ours.lines().count(), theirs.lines().count());
    let mut differ = 0;
    for (ours, theirs) in ours.lines().zip(theirs.lines()).filter(|(a, b)| a != b) {
        // Contaminated by its own partner only there.
        assert!(theirs.contains("?-alt") && theirs.contains("contaminated"), "{theirs}");
        assert!(!ours.contains("contaminated"), "{ours}");
        differ += 1;
    }
    assert!(differ > 0);
}

#[test]
fn defaults_are_those_of_antsun() {
    let lab = Lab::new();
    let matches = lab.path("matches.txt");
    fs::write(&matches, "1\n".repeat(40)).unwrap();
    name_cells(&lab, "b", &[format!("--matches={}", matches.display())]).succeeded();
    let ours = fs::read_to_string(lab.path("labels.csv")).unwrap();
    assert_eq!(ours, fs::read_to_string(folder("b").join("antsun.csv")).unwrap());
}

#[test]
fn matrices_are_those_of_the_original() {
    for case in ["a", "b"] {
        let record = File::open(folder(case).join("probability.h5")).unwrap();
        for name in ["default", "edge_0", "edge_02", "edge_1", "edge_7", "truth"] {
            // Only there the faults show.
            let both: &[bool] = if name == "edge_0" { &[true, false] } else { &[false] };
            for &original in both {
                let lab = Lab::new();
                let mut flags = matrix_flags(case, name);
                flags.push(format!("--matrix={}", lab.path("matrix.h5").display()));
                if original {
                    flags.push("--original".into());
                }
                name_cells(&lab, case, &flags).succeeded();
                let file = File::open(lab.path("matrix.h5")).unwrap();
                let group = record.group(name).unwrap();
                let whole = |group: &hdf5::Group, name: &str| -> ArrayD<i64> {
                    group.dataset(name).unwrap().read_dyn().unwrap()
                };
                assert_eq!(whole(&file, "ids"), whole(&group, "roi"), "{case} {name}");
                assert_eq!(
                    whole(&file, "contamination"),
                    whole(&group, "contamination"),
                    "{case} {name}"
                );
                let sizes: Array2<i64> = record.dataset("roi_size").unwrap().read().unwrap();
                assert_eq!(
                    whole(&file, "sizes").into_raw_vec_and_offset().0,
                    sizes.column(1).to_vec()
                );
                let names: Vec<VarLenUnicode> = file.dataset("names").unwrap().read_raw().unwrap();
                assert_eq!((names.len(), names[0].as_str()), (38, "UNKNOWN"));
                let ours: Array2<f64> = file.dataset("probabilities").unwrap().read().unwrap();
                let theirs: Array2<f64> = group.dataset("probability").unwrap().read().unwrap();
                assert_eq!(ours.dim(), theirs.dim());
                let mut lost = 0;
                for (ours, theirs) in ours.iter().zip(&theirs) {
                    if theirs.is_nan() {
                        // A region that is all edge, with an edge that counts nothing.
                        assert_eq!(ours.is_nan(), original, "{case} {name}");
                        lost += 1;
                    } else {
                        assert!((ours - theirs).abs() < 1e-12, "{case} {name}: {ours} {theirs}");
                    }
                }
                assert_eq!(lost > 0, case == "a" && name == "edge_0", "{case} {name}");
                if !original {
                    for row in ours.outer_iter() {
                        assert!((row.sum() - 1.0).abs() < 1e-9, "{case} {name}");
                    }
                }
            }
        }
    }
}

#[test]
fn several_predictions_of_one_animal_are_averaged() {
    let lab = Lab::new();
    let one = |flag: &str, file: &str| format!("{flag}={}", folder("b").join(file).display());
    let links = lab.path("links.csv");
    // Region 5 of the second prediction is another cell than in the first.
    let mut text = String::from("prediction,region,cell\n");
    for region in 1..=38 {
        text += &format!("1,{region},{region}\n");
        let cell = if region == 5 { 0 } else { region };
        text += &format!("2,{region},{cell}\n");
    }
    fs::write(&links, text).unwrap();
    let mut flags = vec![format!("--links={}", links.display())];
    for _ in 0..2 {
        flags.extend([one("--predictions", "predictions.h5"), one("--regions", "roi_crop.h5")]);
    }
    flags.push(format!("--matrix={}", lab.path("matrix.h5").display()));
    name_cells(&lab, "b", &flags).succeeded();
    // The mean of equal rows is the row.
    let record = File::open(folder("b").join("probability.h5")).unwrap();
    let theirs: Array2<f64> =
        record.group("default").unwrap().dataset("probability").unwrap().read().unwrap();
    let file = File::open(lab.path("matrix.h5")).unwrap();
    let ours: Array2<f64> = file.dataset("probabilities").unwrap().read().unwrap();
    assert_eq!(ours.dim(), theirs.dim());
    assert!(ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 1e-12));
    let sizes: Vec<i64> = file.dataset("sizes").unwrap().read_raw().unwrap();
    let single: Array2<i64> = record.dataset("roi_size").unwrap().read().unwrap();
    for (cell, (both, one)) in sizes.iter().zip(single.column(1)).enumerate() {
        assert_eq!(*both, if cell == 4 { *one } else { 2 * one }, "{cell}");
    }
}
