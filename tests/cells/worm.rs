//! From the images of a worm with known cells to their names, by the commands of
//! `docs/antsun.md` as they stand there.

use std::fs;
use std::path::Path;

use crate::names::json;
use crate::support::lab::Lab;
use crate::support::program::{Run, program, script};

/// The commands of a page that begin with a word.
fn commands(page: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let text = fs::read_to_string(path).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

/// Runs a command line of a page in a folder.
fn run(lab: &Lab, line: &str) {
    // The worm of the test is small.
    let line = line.replace("64,120,284", "16,32,64");
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[0] {
        "unet3d" => {
            let mut run = program();
            run.current_dir(lab.path("")).args(&words[1..]);
            Run::from(run.output().unwrap()).succeeded();
        }
        "cp" => {
            fs::copy(lab.path(words[1]), lab.path(words[2])).unwrap();
        }
        other => panic!("{other}"),
    }
}

struct Cell {
    /// x, y, z from 1.
    place: [i64; 3],
    name: String,
}

fn truth(lab: &Lab) -> Vec<Cell> {
    let cells = json(&lab.path("truth.json"));
    let cell = |cell: &serde_json::Value| Cell {
        place: ["x", "y", "z"].map(|axis| cell[axis].as_i64().unwrap()),
        name: cell["name"].as_str().unwrap().to_owned(),
    };
    cells.as_array().unwrap().iter().map(cell).collect()
}

#[test]
fn a_worm_with_known_cells_gets_their_names() {
    let lab = Lab::new();
    script("make_worm.py", [lab.path("")]);
    let cells = truth(&lab);
    fs::write(lab.path("matches.txt"), "1\n".repeat(cells.len())).unwrap();
    let lines = commands("antsun.md");
    let pipeline: Vec<&String> = lines.iter().filter(|line| !line.contains(" evaluate ")).collect();
    assert_eq!(pipeline.len(), 8);
    pipeline.iter().for_each(|line| run(&lab, line));

    // Every cell of both time points is one region, also where two of them touch.
    for t in [1, 2] {
        let text = fs::read_to_string(lab.path(&format!("centroids/{t}.txt"))).unwrap();
        let mut found: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .map(|line| line.split(' ').map(|number| number.parse().unwrap()).collect())
            .collect();
        assert_eq!(found.len(), cells.len(), "time point {t}");
        for cell in &cells {
            let place = [cell.place[0] + t - 1, cell.place[1], cell.place[2]];
            let near = |other: &Vec<f64>| {
                other.iter().zip(place).all(|(a, b)| (a - b as f64).abs() <= 1.0)
            };
            let index =
                found.iter().position(near).unwrap_or_else(|| panic!("{place:?} {found:?}"));
            found.remove(index);
        }
        let signal = fs::read_to_string(lab.path(&format!("marker_signal/{t}.txt"))).unwrap();
        assert!(signal.lines().all(|line| line.parse::<f64>().unwrap() > 400.0), "{signal}");
    }
    // Without the cut, the cells that touch are one.
    let joined = unet3d::format::read(&lab.path("img_roi/1.nrrd"), "").unwrap().into_f32();
    assert_eq!(joined.iter().copied().fold(0.0, f32::max) as usize, cells.len() * 3 / 4);

    // The table names every cell at its place.
    let text = fs::read_to_string(lab.path("neuropal_label/labels.csv")).unwrap();
    let rows = unet3d::instances::naming::table_rows(&text).unwrap();
    assert_eq!(rows.len(), 1 + cells.len());
    for cell in &cells {
        let near = |row: &&Vec<String>| {
            let place: Vec<i64> = row[1].split(',').map(|part| part.parse().unwrap()).collect();
            place.iter().zip(cell.place).all(|(a, b)| (a - b).abs() <= 1)
        };
        let row = rows.iter().skip(1).find(near).unwrap_or_else(|| panic!("{:?}", cell.place));
        // Names that one cell alone may have are given to the others as alternatives.
        assert_eq!(row[0].trim_end_matches("-alt"), cell.name, "{row:?}");
        assert!(!row[5].contains("not matched"), "{row:?}");
    }

    // People say the same, region by region.
    let regions = unet3d::format::read(&lab.path("neuropal_label/neuron_rois.nrrd"), "").unwrap();
    let regions = regions.into_f32();
    let mut human = String::from("Neuron Class,Coordinates,ROI ID,Confidence,Comments\n");
    for Cell { place: [x, y, z], name } in &cells {
        let id = regions[[0, *z as usize - 1, *y as usize - 1, *x as usize - 1]];
        human += &format!("{name},\"{x}, {y}, {z}\",{id},5,\n");
    }
    fs::write(lab.path("human.csv"), human).unwrap();
    fs::copy(lab.path("neuropal_label/labels.csv"), lab.path("labels.csv")).unwrap();
    let lines = commands("autocelllabeler.md");
    let evaluate = lines.iter().find(|line| line.contains(" evaluate ")).unwrap();
    run(&lab, evaluate);
    let summary = json(&lab.path("summary.json"));
    assert_eq!(summary["mean"]["names"]["agreement"]["mean"], 1.0);
    assert_eq!(summary["files"][0]["classes"]["names"]["compared"], cells.len() as f64);
}

#[test]
fn the_page_of_autocelllabeler_makes_labels_and_training_input() {
    let lab = Lab::new();
    script("make_worm.py", [lab.path("")]);
    for name in ["NeuroPAL.nrrd", "all_red.nrrd"] {
        fs::copy(lab.path("neuropal_label").join(name), lab.path(name)).unwrap();
    }
    run(&lab, "unet3d predict --config segmentation_neuropal.yaml");
    run(&lab, "unet3d instances neuropal_label/unet_data --layout antsun --output .");
    run(&lab, "cp img_roi_watershed/1.nrrd neuron_rois.nrrd");
    let config = fs::read_to_string(lab.path("names.yaml")).unwrap();
    let config = config
        .replace("neuropal_label/autolabel_data/NeuroPAL.h5", "data/worm.h5")
        .replace("output_dir: neuropal_label/autolabel_data", "output_dir: data");
    fs::write(lab.path("names.yaml"), config).unwrap();
    fs::write(lab.path("num_labels.json"), r#"{"AVAL": 4, "AVAR": 2, "RID": 1, "granule": 9}"#)
        .unwrap();
    let regions = unet3d::format::read(&lab.path("neuron_rois.nrrd"), "").unwrap().into_f32();
    let mut human = String::from("Neuron Class,Coordinates,ROI ID,Confidence,Comments\n");
    for Cell { place: [x, y, z], name } in truth(&lab) {
        let id = regions[[0, z as usize - 1, y as usize - 1, x as usize - 1]];
        human += &format!("{name},,{id},4,\n");
    }
    fs::write(lab.path("human.csv"), human).unwrap();
    commands("autocelllabeler.md").iter().for_each(|line| run(&lab, line));

    let file = hdf5::File::open(lab.path("train/worm.h5")).unwrap();
    assert_eq!(file.dataset("raw").unwrap().shape(), [4, 16, 32, 64]);
    assert_eq!(file.dataset("label").unwrap().shape(), [5, 16, 32, 64]);
    let label: ndarray::Array4<u8> = file.dataset("label").unwrap().read().unwrap();
    assert!(label.sum_axis(ndarray::Axis(0)).iter().all(|sum| *sum == 1));
    let weight: ndarray::Array4<i64> = file.dataset("weight").unwrap().read().unwrap();
    // Confidence 4 weighs 900, and the most frequent neuron is four times as frequent.
    let most = |channel: usize| *weight.index_axis(ndarray::Axis(0), channel).iter().max().unwrap();
    assert_eq!([most(1), most(2), most(3)], [900, 1800, 3600]);
}
