//! `unet3d make-label-input` against the records of AutoCellLabeler.

use std::fs;

use hdf5::File;
use hdf5::types::TypeDescriptor;
use ndarray::ArrayD;

use crate::names::json;
use crate::support::fixture;
use crate::support::lab::Lab;
use crate::support::program::{Run, program};

/// The recorded call of a case as flags.
fn make(lab: &Lab, case: &str, more: &[&str]) -> Run {
    let folder = fixture("recorded/cells").join(case);
    let input = json(&folder.join("input.json"));
    let mut run = program();
    run.arg("make-label-input").arg("--image").arg(folder.join("rgb.nrrd"));
    run.arg("--regions").arg(folder.join("roi.nrrd"));
    run.arg("--output").arg(lab.path("input.h5")).arg("--regions-output").arg(lab.path("roi.h5"));
    let list = |key: &str| -> Option<String> {
        let items = input.get(key)?.as_array()?;
        Some(items.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    };
    run.args(["--crop".to_owned(), list("crop_size").unwrap()]);
    if input["theta_h_pos_is_ventral"] == false {
        run.arg("--dorsal");
    }
    for (key, flag) in [
        ("all_red_path", "--all-red"),
        ("label_file", "--human"),
        ("neuron_ids_list_file", "--names"),
    ] {
        if let Some(file) = input.get(key).and_then(|value| value.as_str()) {
            run.arg(flag).arg(folder.join(file));
        }
    }
    if input.get("label_file").is_some() {
        run.arg("--counts").arg(folder.join("num_labels.json"));
    }
    if let Some(weights) = list("foreground_weights") {
        run.args(["--weights".to_owned(), weights]);
    }
    for (key, flag) in [
        ("id_weight", "--id-weight"),
        ("background_weight", "--background-weight"),
        ("min_confidence", "--min-confidence"),
    ] {
        if let Some(value) = input.get(key) {
            run.args([flag.to_owned(), value.to_string()]);
        }
    }
    run.args(more).output().expect("the program starts").into()
}

fn kind(file: &File, name: &str) -> TypeDescriptor {
    file.dataset(name).unwrap().dtype().unwrap().to_descriptor().unwrap()
}

fn values(file: &File, name: &str) -> ArrayD<f64> {
    file.dataset(name).unwrap().read_dyn().unwrap()
}

#[test]
fn inputs_are_those_of_the_original() {
    for case in ["a", "b", "c"] {
        let lab = Lab::new();
        let run = make(&lab, case, &["--original"]).succeeded();
        let folder = fixture("recorded/cells").join(case);
        for (ours, theirs) in [("input.h5", "input.h5"), ("roi.h5", "roi_crop.h5")] {
            let (ours, theirs) =
                (File::open(lab.path(ours)).unwrap(), File::open(folder.join(theirs)).unwrap());
            let names = |file: &File| {
                let mut names = file.member_names().unwrap();
                names.sort();
                names
            };
            assert_eq!(names(&ours), names(&theirs), "{case}");
            for name in names(&theirs) {
                assert_eq!(kind(&ours, &name), kind(&theirs, &name), "{case} {name}");
                assert!(values(&ours, &name) == values(&theirs, &name), "{case} {name}");
                assert!(ours.dataset(&name).unwrap().chunk().is_none(), "{case} {name}");
            }
        }
        // The regions that are cut off are told.
        let cut = json(&folder.join("input.json"))["cropped_out"].clone();
        let cut: Vec<String> = cut.as_array().unwrap().iter().map(ToString::to_string).collect();
        let told = format!("{} region(s) reach out of the crop: {}", cut.len(), cut.join(", "));
        assert_eq!(run.out.contains(&told), !cut.is_empty(), "{case}: {}", run.out);
    }
}

#[test]
fn a_name_of_two_regions_keeps_its_weight() {
    let lab = Lab::new();
    make(&lab, "a", &[]).succeeded();
    let (ours, theirs) = (
        File::open(lab.path("input.h5")).unwrap(),
        File::open(fixture("recorded/cells/a/input.h5")).unwrap(),
    );
    for name in ["raw", "label"] {
        assert!(values(&ours, name) == values(&theirs, name), "{name}");
    }
    let (label, ours, theirs) =
        (values(&ours, "label"), values(&ours, "weight"), values(&theirs, "weight"));
    let mut more = 0;
    for ((ours, theirs), label) in ours.iter().zip(&theirs).zip(&label) {
        if ours != theirs {
            // Only where a name is, and only upwards.
            assert!(ours > theirs && *label == 1.0);
            more += 1;
        }
    }
    assert!(more > 0);
}

#[test]
fn a_network_of_fewer_fluorophores_gets_fewer_channels() {
    let lab = Lab::new();
    make(&lab, "b", &["--channels=3,0"]).succeeded();
    let ours = values(&File::open(lab.path("input.h5")).unwrap(), "raw");
    let theirs = values(&File::open(fixture("recorded/cells/b/input.h5")).unwrap(), "raw");
    for (channel, theirs) in
        [3, 0].into_iter().map(|c| theirs.index_axis(ndarray::Axis(0), c)).enumerate()
    {
        assert!(ours.index_axis(ndarray::Axis(0), channel) == theirs, "{channel}");
    }
}

#[test]
fn counts_come_from_the_human_labels_if_no_others_are_given() {
    let folder = fixture("recorded/cells/b");
    let lab = Lab::new();
    let run = |output: &str, more: &[&str]| -> ArrayD<f64> {
        let mut run = program();
        run.arg("make-label-input").arg("--image").arg(folder.join("rgb.nrrd"));
        run.arg("--regions").arg(folder.join("roi.nrrd")).arg("--names");
        run.arg(folder.join("neuron_ids.h5")).arg("--human").arg(folder.join("human.csv"));
        run.arg("--output").arg(lab.path(output)).arg("--regions-output");
        run.arg(lab.path(&format!("{output}.roi"))).args(["--crop=24,48,80"]).args(more);
        Run::from(run.output().unwrap()).succeeded();
        values(&File::open(lab.path(output)).unwrap(), "weight")
    };
    // The counts of the table itself, written out.
    let text = fs::read_to_string(folder.join("human.csv")).unwrap();
    let sure = unet3d::instances::naming::human_labels(&text, 2.0).unwrap();
    let counts = unet3d::instances::naming::name_counts(&sure);
    let path = lab.path("counts.json");
    fs::write(&path, serde_json::to_string(&counts).unwrap()).unwrap();
    let given = run("given.h5", &[&format!("--counts={}", path.display())]);
    assert!(run("own.h5", &[]) == given);
}

#[test]
fn what_does_not_fit_together_is_an_error_that_names_the_file() {
    let lab = Lab::new();
    let write = |name: &str, dataset: &str, values: ArrayD<u16>| {
        let file = File::create(lab.path(name)).unwrap();
        file.new_dataset_builder().with_data(&values).create(dataset).unwrap();
    };
    let zeros = |shape: &[usize]| ArrayD::<u16>::zeros(shape);
    let mut regions = zeros(&[4, 6, 20]);
    regions[[1, 2, 3]] = 1;
    write("image.h5", "raw", zeros(&[3, 4, 6, 20]));
    write("small.h5", "raw", zeros(&[4, 6, 19]));
    write("roi.h5", "roi", regions);
    write("none.h5", "roi", zeros(&[4, 6, 20]));
    fs::write(lab.path("human.csv"), "name,place,region,confidence\nAVAL,x,1,3\n").unwrap();
    fs::write(lab.path("names.txt"), "AVAL\nAVAR\n").unwrap();
    fs::write(lab.path("counts.json"), "{\"AVAL\": 0}").unwrap();
    fs::write(lab.path("there.h5"), "mine").unwrap();
    let fails = |words: &[&str], code: i32, parts: &[&str]| {
        let default = ["--image=@image.h5", "--regions=@roi.h5", "--output=@o.h5"];
        let taken = |word: &&str| {
            let flag = word.split('=').next().unwrap();
            words.iter().any(|other| other.split('=').next() == Some(flag))
        };
        let mut run = program();
        run.arg("make-label-input");
        let all = default.iter().chain(&["--regions-output=@r.h5"]);
        for word in all.filter(|word| !taken(word)).chain(words) {
            run.arg(word.replace('@', &lab.path("").display().to_string()));
        }
        Run::from(run.output().unwrap()).failed_with(code, parts);
        assert!(!lab.path("o.h5").exists() && !lab.path("r.h5").exists(), "{words:?}");
    };
    let people = ["--human=@human.csv", "--names=@names.txt"];
    fails(&["--image=@small.h5"], 1, &["small.h5", "roi.h5", "[4, 6, 19]", "[4, 6, 20]"]);
    fails(&["--all-red=@small.h5"], 1, &["small.h5", "image.h5", "[4, 6, 19]"]);
    fails(&["--regions=@none.h5"], 1, &["none.h5", "no region"]);
    fails(&["--channels=0,3"], 1, &["image.h5", "no channel 3"]);
    fails(&["--output=@there.h5"], 1, &["there.h5", "not replaced"]);
    fails(&["--regions-output=@o.h5"], 2, &["--output and --regions-output"]);
    fails(&["--crop", "4,6"], 2, &["--crop", "z,y,x"]);
    fails(&["--human=@human.csv"], 2, &["--names"]);
    fails(&["--weights=1,2"], 2, &["--human"]);
    let counts = [&people[..], &["--counts=@counts.json"]].concat();
    fails(&counts, 1, &["counts.json", "AVAL", "more than 0"]);
    fs::write(lab.path("human.csv"), "").unwrap();
    fails(&people, 1, &["human.csv"]);
    assert_eq!(fs::read_to_string(lab.path("there.h5")).unwrap(), "mine");
}
