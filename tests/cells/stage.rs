//! Regions while predictions are written, and which results are left as they are.

use std::fs;
use std::path::Path;

use crate::support::fixture;
use crate::support::lab::{Lab, read};
use crate::support::program::{Run, program, script};

fn unet3d(lab: &Lab, words: &[&str]) -> Run {
    let mut run = program();
    run.current_dir(lab.path("")).args(words).output().expect("the program starts").into()
}

/// Files of a folder and what is in them, without hidden ones.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| !name.starts_with('.'))
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect();
    found.sort();
    found
}

#[test]
fn a_prediction_writes_the_regions_that_the_command_writes() {
    let lab = Lab::new();
    script("make_worm.py", [lab.path("")]);
    let config = fs::read_to_string(lab.path("segmentation.yaml")).unwrap();
    let section = "instances:
  layout: antsun
  output: stage
  raw: NRRD_cropped
  raw_channel: 2
  split_thresholds: [0.7, 0.8, 0.9]
  split_min_sizes: [5, 4, 4]
";
    fs::write(lab.path("both.yaml"), config.clone() + section).unwrap();
    let told = unet3d(&lab, &["predict", "--config", "both.yaml", "--skip-existing"]).succeeded();
    assert!(told.out.contains("16 region(s)"), "{}", told.out);
    let raw = ["--raw", "NRRD_cropped", "--raw-channel", "2"];
    let words = ["instances", "unet_data", "--layout", "antsun", "--output", "command"];
    unet3d(&lab, &[&words[..], &raw[..]].concat()).succeeded();
    for folder in ["img_roi", "img_roi_watershed", "centroids", "marker_signal"] {
        let stage = contents(&lab.path(&format!("stage/{folder}")));
        assert_eq!(stage.len(), 2, "{folder}");
        assert!(stage == contents(&lab.path(&format!("command/{folder}"))), "{folder}");
    }

    // What is complete is left; what lacks its regions is predicted again.
    let again = ["predict", "--config", "both.yaml", "--skip-existing"];
    let told = unet3d(&lab, &again).succeeded();
    assert!(told.out.contains("2 of 2 volume(s) have their result already"), "{}", told.out);
    fs::remove_file(lab.path("stage/centroids/2.txt")).unwrap();
    let told = unet3d(&lab, &again).succeeded();
    assert!(told.out.contains("1 of 2 volume(s) have their result already"), "{}", told.out);
    assert!(lab.path("stage/centroids/2.txt").is_file());

    // A volume that is too large is read again, with the same result.
    let small = section.replace("stage", "small") + "  memory: 0\n";
    fs::write(lab.path("small.yaml"), config.clone() + &small).unwrap();
    unet3d(&lab, &["predict", "--config", "small.yaml"]).succeeded();
    for folder in ["img_roi_watershed", "centroids"] {
        let [one, other] = ["stage", "small"].map(|place| contents(&lab.path(place).join(folder)));
        assert!(one == other, "{folder}");
    }

    // Distances are in the unit of the voxel size, which the result has from its input.
    for number in [1, 2] {
        let path = lab.path(&format!("NRRD_cropped/worm_t000{number}_ch2.nrrd"));
        let bytes = fs::read(&path).unwrap();
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap() + 1;
        let sized = [&bytes[..end], b"spacings: 0.5 0.5 2\n", &bytes[end..]].concat();
        fs::write(&path, sized).unwrap();
    }
    let apart = "instances:\n  output: apart\n  split: distance\n  h_maxima: 0.4\n";
    fs::write(lab.path("apart.yaml"), config.clone() + apart).unwrap();
    unet3d(&lab, &["predict", "--config", "apart.yaml"]).succeeded();
    let later = ["--split=distance", "--h-maxima=0.4", "--output=later"];
    unet3d(&lab, &[&["instances", "unet_data"], &later[..]].concat()).succeeded();
    let [stage, command] = ["apart", "later"].map(|place| contents(&lab.path(place)));
    let tables = stage.iter().filter(|(name, _)| name.ends_with(".csv"));
    assert!(tables.clone().count() == 2);
    for (name, table) in tables {
        assert!(String::from_utf8_lossy(table).starts_with("id,voxels,volume,"), "{name}");
        assert!(command.contains(&(name.clone(), table.clone())), "{name}");
    }

    let wrong = |section: &str, words: &[&str]| {
        fs::write(lab.path("wrong.yaml"), format!("{config}instances: {section}\n")).unwrap();
        for command in ["predict", "check"] {
            unet3d(&lab, &[command, "--config", "wrong.yaml"]).failed_with(2, words);
        }
    };
    wrong(
        "{split: none, split_thresholds: [0.7]}",
        &["wrong.yaml", "instances", "split_thresholds"],
    );
    wrong("{threshold: much}", &["wrong.yaml", "threshold", "a number"]);
    wrong("{layout: antsun}", &["layout antsun", "output"]);
}

#[test]
fn results_are_left_only_if_nothing_changed() {
    let lab = Lab::new();
    let case = fixture("recorded/instances/touching");
    fs::copy(case.join("volume.h5"), lab.path("a_predictions.h5")).unwrap();
    fs::copy(case.join("raw.nrrd"), lab.path("a_raw.nrrd")).unwrap();
    let run = |more: &[&str]| {
        let words = ["instances", "a_predictions.h5", "--raw=a_raw.nrrd", "--skip-existing"];
        let told = unet3d(&lab, &[&words[..], more].concat()).succeeded();
        told.out.contains("1 of 1 prediction(s) have their result already")
    };
    assert!(!run(&[]) && run(&[]));
    // Other threads and memory give the same result; other settings do not.
    assert!(run(&["--threads=1", "--memory=0"]));
    assert!(!run(&["--threshold=0.6"]) && run(&["--threshold=0.6"]) && !run(&[]));
    assert!(!run(&["--preview"]));
    assert!(!run(&[]));
    let expected = read(&lab.path("a_instances.h5"), "instances");
    // Another raw image, another prediction, a part that is missing.
    let bytes = fs::read(lab.path("a_raw.nrrd")).unwrap();
    fs::write(lab.path("a_raw.nrrd"), &bytes).unwrap();
    assert!(!run(&[]) && run(&[]));
    fs::copy(case.join("volume.h5"), lab.path("b.h5")).unwrap();
    fs::rename(lab.path("b.h5"), lab.path("a_predictions.h5")).unwrap();
    assert!(!run(&[]) && run(&[]));
    fs::remove_file(lab.path("a_instances.csv")).unwrap();
    assert!(!run(&[]) && run(&[]));
    assert_eq!(read(&lab.path("a_instances.h5"), "instances"), expected);

    // What somebody corrected by hand is not replaced, in any format.
    for name in ["a_instances.h5", "a_instances.csv"] {
        let made = fs::read(lab.path(name)).unwrap();
        match name.strip_suffix(".h5") {
            Some(_) => {
                let file = hdf5::File::open_rw(lab.path(name)).unwrap();
                let labels = file.dataset("instances").unwrap();
                let mut values: ndarray::Array3<u16> = labels.read().unwrap();
                values.iter_mut().filter(|label| **label == 2).for_each(|label| *label = 1);
                labels.write(&values).unwrap();
            }
            None => fs::write(lab.path(name), [&made[..], b"mine\n"].concat()).unwrap(),
        }
        let words = ["instances", "a_predictions.h5", "--raw=a_raw.nrrd", "--skip-existing"];
        unet3d(&lab, &words).failed_with(1, &[name, "was changed", "not replaced"]);
        fs::write(lab.path(name), made).unwrap();
        assert!(run(&[]));
    }
}
